/**
 * A broker between one device and the server that, while it is hostile, loses, doubles, delays and reorders what it
 * carries, changes bytes, replays acknowledgements of any age and forges such as the device would like to hear. It has
 * no key that anybody trusts. Nothing it remembers is needed: wiped, it has only forgotten what it could replay.
 */
import { ACK_DOMAIN } from '@skein/protocol/batch/ack.ts';
import { askedHash, takeNonce } from '@skein/protocol/batch/nonce.ts';
import { openBatch } from '@skein/protocol/batch/sealed.ts';
import { sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Channel, parseTopic } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { Link } from '../../../agent/src/uplink/link.ts';
import type { Broker, MessageHandler } from '../../../fleet-server/src/broker/port.ts';
import { testSigner } from '../../protocol/batch/random.ts';
import type { Chance } from '../seeded.ts';
import type { VirtualTime } from '../virtual-time.ts';

const MALLORY = testSigner('mallory');
const KEPT = 100;

export class SimBroker {
  readonly #time: VirtualTime;
  readonly #chance: Chance;
  hostile = false;
  /** Nothing gets through, and nobody is told. */
  stalled = false;
  #server: MessageHandler | undefined;
  #device: ((channel: Channel, payload: Uint8Array) => void) | undefined;
  /** Acknowledgements that it may replay. */
  #old: Uint8Array[] = [];
  /** What it did that no honest one would. */
  lies = 0;

  constructor(time: VirtualTime, chance: Chance) {
    this.#time = time;
    this.#chance = chance;
  }

  wipe(): void {
    this.#old = [];
  }

  /** The server's side; one at a time. */
  port(): Broker {
    return {
      publish: async (topic, payload) => this.#toDevice(parseTopic(topic)!.channel, payload as Uint8Array),
      onMessage: (handler) => {
        this.#server = handler;
      },
      holdsSenders: false,
      unreachedSince: null,
      onConnect: (handler) => queueMicrotask(handler),
      disconnect: async () => {},
      close: async () => {
        this.#server = undefined;
      },
    };
  }

  attach(hear: (channel: Channel, payload: Uint8Array) => void): void {
    this.#device = hear;
  }

  toServer(topic: string, payload: Uint8Array): void {
    this.#carry(payload, (bytes) => void this.#server?.(topic, bytes));
    const { channel, device } = parseTopic(topic)!;
    if (this.hostile && channel.startsWith('batch/')) this.#forge(device, payload);
  }

  #toDevice(channel: Channel, payload: Uint8Array): void {
    if (channel === 'ack') this.#old.push(payload);
    if (this.#old.length > KEPT) this.#old.splice(this.#chance.below(KEPT), 1);
    this.#carry(payload, (bytes) => this.#device?.(channel, bytes));
    if (!this.hostile || this.#old.length === 0 || !this.#chance.is(0.5)) return;
    const replayed = this.#chance.pick(this.#old);
    this.#lie(() => this.#device?.('ack', replayed), 20_000);
  }

  #carry(payload: Uint8Array, deliver: (bytes: Uint8Array) => void): void {
    if (this.stalled) return;
    if (!this.hostile) {
      this.#time.after(this.#chance.between(5, 50), () => deliver(payload));
      return;
    }
    const fate = this.#chance.unit();
    if (fate < 0.2) this.lies++;
    if (fate < 0.2) return;
    if (fate < 0.3) this.#lie(() => deliver(this.#changed(payload)), 100);
    if (fate < 0.6) this.#lie(() => deliver(payload), 60_000);
    this.#lie(() => deliver(payload), fate < 0.8 ? 50 : 10_000);
  }

  #lie(act: () => void, withinMs: number): void {
    this.lies++;
    this.#time.after(this.#chance.between(1, withinMs), act);
  }

  #changed(payload: Uint8Array): Uint8Array {
    const other = Uint8Array.from(payload);
    other[this.#chance.below(other.length)]! ^= 1 << this.#chance.below(8);
    return other;
  }

  /** What the server would say of this batch, or of one before it, under a key that is not the server's. */
  #forge(device: string, bytes: Uint8Array): void {
    const { batch, nonce } = takeNonce(bytes);
    const { header, head } = openBatch(batch);
    const re = nonce ? askedHash(nonce, head) : head;
    const { stream, epoch, seq, n } = header;
    const upTo = this.#chance.is(0.5) ? seq + n - 1 : this.#chance.below(seq + 1) - 1;
    const ack = new TextEncoder().encode(JSON.stringify({ stream, epoch, upTo, head, re }));
    const signed = sealEnvelope(MALLORY, ACK_DOMAIN, device, ack);
    const short = sealShortAck(MALLORY, device, [re]);
    const forged = this.#chance.pick([ack, signed, this.#changed(signed), short, this.#changed(short)]);
    this.#lie(() => this.#device?.('ack', forged), 1_000);
  }
}

/** The device's side of one life. */
export class SimLink implements Link {
  connected = false;
  session = '';
  readonly #broker: SimBroker;
  readonly #topicOf: (channel: Channel) => string;
  readonly #handlers = new Map<Channel, (payload: Uint8Array) => void>();
  readonly #up: (() => void)[] = [];
  readonly #down: ((reason: string) => void)[] = [];

  constructor(broker: SimBroker, topicOf: (channel: Channel) => string) {
    this.#broker = broker;
    this.#topicOf = topicOf;
  }

  async publish(channel: Channel, payload: Uint8Array | string): Promise<void> {
    if (!this.connected) throw new SkeinError('UNREACHABLE', 'not connected');
    this.#broker.toServer(this.#topicOf(channel), payload as Uint8Array);
  }

  onMessage(channel: Channel, handler: (payload: Uint8Array) => void): void {
    this.#handlers.set(channel, handler);
  }

  onConnect(handler: () => void): void {
    this.#up.push(handler);
  }

  onDisconnect(handler: (reason: string) => void): void {
    this.#down.push(handler);
  }

  doubt(): void {}
  moved(): void {}
  contested(): void {}

  start(): void {
    this.#broker.attach((channel, payload) => this.connected && this.#handlers.get(channel)?.(payload));
    this.connected = true;
    for (const handler of this.#up) handler();
  }

  async stop(): Promise<void> {
    if (!this.connected) return;
    this.connected = false;
    for (const handler of this.#down) handler('cut');
  }
}
