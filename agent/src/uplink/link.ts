import type { Channel } from '@skein/protocol/topics.ts';

/** One device's connection to its broker. It has no queue: what is not sent while connected is not kept here. */
export interface Link {
  readonly connected: boolean;
  /** Random per connection; the will of this connection names it. Empty before the first. */
  readonly session: string;
  /** Resolves when the broker confirmed (QoS 1) or the bytes were written (QoS 0). @throws SkeinError UNREACHABLE when not connected */
  publish(channel: Channel, payload: Uint8Array | string): Promise<void>;
  onMessage(channel: Channel, handler: (payload: Uint8Array) => void): void;
  onConnect(handler: () => void): void;
  onDisconnect(handler: (reason: string) => void): void;
  /** An answer is overdue: the broker is asked for a sign of life, and the connection ends if none comes. */
  doubt(): void;
  /** The way out of this device changed, and these are its addresses now: a connection from another one is over. */
  moved(addresses: ReadonlySet<string>): void;
  /** Another agent goes by this identity: comes back ever later, so that the two do not fight. */
  contested(): void;
  start(): void;
  stop(): Promise<void>;
}
