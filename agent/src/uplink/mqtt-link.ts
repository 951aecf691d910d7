/**
 * The connection over mqtt.js, MQTT 3.1.1, mTLS or plain.
 *
 * mqtt.js keeps no queue of ours: every connection is a client object of its own that is thrown away when the
 * connection ends, with its stores; it neither reconnects nor queues, and what is not confirmed is rejected here and
 * sent again by who sent it. Sessions are clean and the subscriptions made anew at each connect, before anybody is
 * told of it: a lost acknowledgement is asked for again, `desired` is retained, commands expire. So nothing depends
 * on what a broker remembers.
 *
 * Half-open lines: Node has no TCP_USER_TIMEOUT, and TCP's own keepalive is silent while bytes wait for confirmation and
 * would cost a metered line as much as MQTT's, so the sign of life is asked for in MQTT: after a keepalive without a
 * packet, and at once when an answer is overdue or the route changed.
 *
 * Limits: {@link MAX_UNCONFIRMED} publishes without confirmation, {@link MAX_UNWRITTEN} bytes in the socket.
 */
import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Log, Timer } from '@skein/protocol/ports.ts';
import { CHANNELS, type Channel, heardChannels, parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { type Bytes, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { BackoffPolicy } from './backoff.ts';
import type { Link } from './link.ts';
import { RECONNECT, Reconnect } from './reconnect.ts';

/** PEM; whatever else TLS is to be told goes straight to node:tls. */
export interface MqttTls
  extends Pick<ConnectionOptions, 'checkServerIdentity' | 'secureContext' | 'servername' | 'session'> {
  ca: string;
  /** Absent only where the broker asks for no certificate. */
  cert?: string | undefined;
  key?: string | undefined;
  /**
   * A connection already open and verified, in place of node:tls's own verdict: for a clock that is still behind
   * what this device has seen, when every certificate looks not yet valid.
   */
  socket?: (() => Promise<Socket>) | undefined;
  /** Of TLS sessions to resume: `session` is about to be used; the broker gave one for a later connection. */
  tickets?: { taken(): void; given(session: Buffer): void } | undefined;
}

export interface MqttLinkOptions {
  /** `mqtts://host:8883`, or `mqtt://` without TLS. */
  url: string;
  fleet: string;
  /** Also the client id, as the broker's access rules want it. */
  device: string;
  /** Asked at each connect, so a renewed certificate is used from the next one on. */
  tls?: () => MqttTls;
  keepaliveMs: Millis;
  /**
   * QoS 0 for batches and what answers them: each is asked for again until the server's signed word comes, so the
   * broker's own confirmations say nothing and are saved.
   */
  unconfirmedBatches?: boolean;
  /** Published by the broker, retained on `status`, when this connection ends without goodbye. */
  will(session: string): string;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  reconnect?: BackoffPolicy;
  connectTimeoutMs?: Millis;
  /** From an overdue answer to the end of the connection. */
  signOfLifeMs?: Millis;
}

const MAX_UNCONFIRMED = 64;
const MAX_UNWRITTEN: Bytes = 4 << 20;
const SIGN_OF_LIFE_MS: Millis = 10 * SECOND;
/** What a device may also go without: a broker set up for an older version knows less, and then it is not missed. */
const OPTIONAL: ReadonlySet<Channel | undefined> = new Set<Channel>(['reads', 'status']);
const CONNECT_TIMEOUT_MS: Millis = 15 * SECOND;

export const openMqttLink = (options: MqttLinkOptions): Link => new MqttLink(options);

type Reject = (error: SkeinError) => void;

class MqttLink implements Link {
  session = '';
  connected = false;
  readonly #options: MqttLinkOptions;
  readonly #onMessage = new Map<Channel, (payload: Uint8Array) => void>();
  readonly #onConnect: (() => void)[] = [];
  readonly #onDisconnect: ((reason: string) => void)[] = [];
  readonly #unconfirmed = new Set<Reject>();
  #client: MqttClient | undefined;
  #retry: Timer | undefined;
  #doubt: Timer | undefined;
  readonly #reconnect: Reconnect;
  #connectedAt: Millis = 0;
  #running = false;

  constructor(options: MqttLinkOptions) {
    this.#options = options;
    this.#reconnect = new Reconnect(options.reconnect ?? RECONNECT.lan, options.entropy);
  }

  onMessage(channel: Channel, handler: (payload: Uint8Array) => void): void {
    this.#onMessage.set(channel, handler);
  }

  onConnect(handler: () => void): void {
    this.#onConnect.push(handler);
  }

  onDisconnect(handler: (reason: string) => void): void {
    this.#onDisconnect.push(handler);
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#connect();
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#retry?.cancel();
    const client = this.#client;
    if (client === undefined) return;
    // A clean DISCONNECT, so the broker keeps the will to itself; forced when nothing is there to take it. The library
    // does not answer when the connection breaks meanwhile.
    const closed = new Promise<void>((resolve) => client.once('close', resolve));
    await Promise.race([client.endAsync(!this.connected).catch(() => {}), closed]);
    this.#over(client, 'stopped');
  }

  /** The library is large, and the first connection comes after the first prediction: it is loaded here. */
  async #connect(): Promise<void> {
    this.session = Buffer.from(this.#options.entropy.bytes(8)).toString('hex');
    const { socket, tickets, ...tls }: Partial<MqttTls> = this.#options.tls?.() ?? {};
    const options = { ...this.#packet(), ...tls };
    try {
      const { default: mqtt, MqttClient } = await import('mqtt');
      const stream = await socket?.();
      if (!this.#running) stream?.destroy();
      else if (stream) this.#follow(new MqttClient(() => stream as never, options));
      else {
        const client = mqtt.connect(this.#options.url, options);
        if (tickets) useTickets(client.stream as unknown as TLSSocket, tls.session, tickets);
        this.#follow(client);
      }
    } catch (error) {
      this.#again(reasonOf(error));
    }
  }

  #packet(): IClientOptions {
    const { device, fleet, keepaliveMs, will, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.#options;
    return {
      clientId: device,
      protocolVersion: 4,
      clean: true,
      keepalive: Math.ceil(keepaliveMs / SECOND),
      connectTimeout: connectTimeoutMs,
      reconnectPeriod: 0,
      queueQoSZero: false,
      resubscribe: false,
      // Its cache of every number below 65,536 takes 10 MB and a tenth of a start.
      writeCache: false,
      will: {
        topic: topicFor(fleet, device, 'status'),
        payload: Buffer.from(will(this.session)),
        qos: CHANNELS.status.qos,
        retain: CHANNELS.status.retain,
      },
    };
  }

  #follow(client: MqttClient): void {
    this.#client = client;
    let reason = 'closed';
    client.on('error', (error) => {
      reason = reasonOf(error);
    });
    client.on('connect', () => void this.#welcome(client));
    client.on('message', (topic, payload) => this.#hear(topic, payload));
    client.on('close', () => this.#over(client, reason));
  }

  /** Subscriptions first: whoever acts on the connection may expect answers. */
  async #welcome(client: MqttClient): Promise<void> {
    const { fleet, device, log, url } = this.#options;
    (client.stream as unknown as Socket).setNoDelay(true);
    this.#expect(client);
    try {
      const granted = await client.subscribeAsync(
        Object.fromEntries(
          heardChannels.map((channel) => [topicFor(fleet, device, channel), { qos: this.#hears(channel) }]),
        ),
      );
      const refused = granted.some(
        ({ topic, qos }) => qos === 128 && !OPTIONAL.has(parseTopic(topic)?.channel),
      );
      if (refused) throw new Error('the broker refused a subscription');
    } catch (error) {
      this.#over(client, reasonOf(error));
      return;
    }
    if (this.#client !== client || !client.connected) return;
    this.connected = true;
    this.#connectedAt = this.#options.clock.mono();
    const stream = client.stream as unknown as Partial<TLSSocket>;
    log.info('connected to the broker', { url, resumed: stream.isSessionReused?.() ?? false });
    for (const handler of this.#onConnect) handler();
  }

  #qosOf(channel: Channel): 0 | 1 {
    const saved = this.#options.unconfirmedBatches && (channel === 'ack' || channel.startsWith('batch/'));
    return saved ? 0 : CHANNELS[channel].qos;
  }

  /** Our own words come back without being confirmed once more. */
  #hears(channel: Channel): 0 | 1 {
    return CHANNELS[channel].way === 'up' ? 0 : this.#qosOf(channel);
  }

  #hear(topic: string, payload: Uint8Array): void {
    const parts = parseTopic(topic);
    const { fleet, device, log } = this.#options;
    if (parts?.fleet !== fleet || parts.device !== device) return;
    try {
      this.#onMessage.get(parts.channel)?.(payload);
    } catch (error) {
      const { code, message } = asSkeinError(error);
      log.error('message handler failed', { channel: parts.channel, code, message });
    }
  }

  /** Once per client, however it ends. */
  #over(client: MqttClient, reason: string): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    this.#doubt?.cancel();
    this.#doubt = undefined;
    client.end(true);
    const was = this.connected;
    this.connected = false;
    const gone = new SkeinError('UNREACHABLE', `connection to the broker: ${reason}`);
    for (const reject of [...this.#unconfirmed]) reject(gone);
    if (was) for (const handler of this.#onDisconnect) handler(reason);
    this.#again(reason, was ? this.#options.clock.mono() - this.#connectedAt : undefined);
  }

  #again(reason: string, lastedMs?: Millis): void {
    if (!this.#running) return;
    const { clock, log } = this.#options;
    const waitMs = this.#reconnect.waitMs(lastedMs);
    log.info('broker not connected', { reason, retryMs: Math.round(waitMs) });
    this.#retry = clock.after(waitMs, () => {
      this.#retry = undefined;
      if (this.#running) void this.#connect();
    });
  }

  doubt(): void {
    const client = this.#client;
    if (client === undefined || !this.connected || this.#doubt) return;
    this.#expect(client);
    client.sendPing();
  }

  /** Any packet within the time, or the connection is over. */
  #expect(client: MqttClient): void {
    const { clock, signOfLifeMs = SIGN_OF_LIFE_MS } = this.#options;
    this.#doubt = clock.after(signOfLifeMs, () => this.#over(client, 'no sign of life'));
    client.once('packetreceive', () => {
      if (this.#client !== client) return;
      this.#doubt?.cancel();
      this.#doubt = undefined;
    });
  }

  moved(addresses: ReadonlySet<string>): void {
    if (!this.#running) return;
    const client = this.#client;
    const from = (client?.stream as unknown as Socket | undefined)?.localAddress?.replace(/^::ffff:/, '');
    if (this.connected && from !== undefined && addresses.has(from)) {
      this.doubt();
      return;
    }
    this.#reconnect.moved();
    if (client) this.#over(client, 'the way out changed');
    else if (this.#retry) {
      this.#retry.cancel();
      this.#again('the way out changed');
    }
  }

  contested(): void {
    this.#reconnect.contested();
  }

  publish(channel: Channel, payload: Uint8Array | string): Promise<void> {
    const client = this.#client;
    if (client === undefined || !this.connected) {
      return Promise.reject(new SkeinError('UNREACHABLE', 'not connected to the broker'));
    }
    if (this.#unconfirmed.size >= MAX_UNCONFIRMED || unwritten(client) > MAX_UNWRITTEN) {
      return Promise.reject(new SkeinError('OVERLOADED', 'the broker does not keep up'));
    }
    const { retain } = CHANNELS[channel];
    const qos = this.#qosOf(channel);
    const topic = topicFor(this.#options.fleet, this.#options.device, channel);
    const bytes = typeof payload === 'string' ? payload : Buffer.from(payload);
    return new Promise<void>((resolve, reject) => {
      const settle = (error?: unknown): void => {
        this.#unconfirmed.delete(lost);
        if (error) reject(asSkeinError(error, 'UNREACHABLE'));
        else resolve();
      };
      const lost: Reject = (error) => settle(error);
      this.#unconfirmed.add(lost);
      client.publish(topic, bytes, { qos, retain }, settle);
    });
  }
}

/** A ticket that served is good again, until the broker gives another one: some give none to whoever had one. */
function useTickets(
  stream: TLSSocket,
  used: Buffer | undefined,
  { taken, given }: NonNullable<MqttTls['tickets']>,
): void {
  stream.once('connect', taken);
  stream.once('secureConnect', () => used && stream.isSessionReused() && given(used));
  stream.on('session', given);
}

const unwritten = (client: MqttClient): Bytes => (client.stream as unknown as Socket)?.writableLength ?? 0;

const reasonOf = (error: unknown): string => {
  const { code, message } = error as { code?: unknown; message?: string };
  return `${message || 'failed'}${typeof code === 'string' ? ` (${code})` : ''}`;
};
