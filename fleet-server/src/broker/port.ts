/** The server's view of a broker. Embedded (aedes) or external (Mosquitto); one contract suite for both. */
import type { Millis } from '@skein/protocol/units.ts';

export interface PublishOptions {
  qos: 0 | 1;
  retain: boolean;
}

export type MessageHandler = (topic: string, payload: Uint8Array) => Promise<void> | undefined | void;

export interface Broker {
  /** Resolves when the broker has taken the message; says nothing about delivery. */
  publish(topic: string, payload: Uint8Array | string, options: PublishOptions): Promise<void>;
  /**
   * Every message a device published under `skein/v1/`, in order per device. Of a handler's promise see
   * {@link holdsSenders}.
   */
  onMessage(handler: MessageHandler): void;
  /**
   * True: while a handler's promise is open, nothing more is read of that sender's connection, so what waits is
   * bounded by it; others go on. False: promises are ignored, and a handler must not keep what it has no room for.
   */
  readonly holdsSenders: boolean;
  /** Since when what devices say does not come here: the broker is away or takes no subscription of ours. Null: it comes. */
  readonly unreachedSince: Millis | null;
  /** Called each time the broker is reached (again), at once if it is: what must be retained is published anew. */
  onConnect(handler: () => void): void;
  /** Ends the device's connection within 5 s where the broker is ours. It has no last word: its topics are about to be cleared. */
  disconnect(device: string): Promise<void>;
  close(): Promise<void>;
}
