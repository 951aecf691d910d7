/**
 * The connection over mqtt.js, MQTT 3.1.1, mTLS or plain.
 *
 * mqtt.js keeps no queue of ours: every connection is a client object of its own that is thrown away when the
 * connection ends, with its stores; it neither reconnects nor queues, and what is not confirmed is rejected here and
 * sent again by who sent it. Sessions are clean and the subscriptions made anew at each connect, before anybody is
 * told of it: a lost acknowledgement is asked for again, `desired` is retained, commands expire. So nothing depends
 * on what a broker remembers.
 *
 * Limits: {@link MAX_UNCONFIRMED} publishes without confirmation, {@link MAX_UNWRITTEN} bytes in the socket.
 */
import type { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Log, Timer } from '@skein/protocol/ports.ts';
import { CHANNELS, type Channel, downChannels, parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { type Bytes, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { IClientOptions, MqttClient } from 'mqtt';
import { type BackoffPolicy, backoffMs, RECONNECT } from './backoff.ts';
import type { Link } from './link.ts';

/** PEM; whatever else TLS is to be told goes straight to node:tls. */
export interface MqttTls extends Pick<ConnectionOptions, 'checkServerIdentity' | 'servername'> {
  ca: string;
  /** Absent only where the broker asks for no certificate. */
  cert?: string | undefined;
  key?: string | undefined;
  /**
   * A connection already open and verified, in place of node:tls's own verdict: for a clock that is still behind
   * what this device has seen, when every certificate looks not yet valid.
   */
  socket?: (() => Promise<Socket>) | undefined;
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
}

const MAX_UNCONFIRMED = 64;
const MAX_UNWRITTEN: Bytes = 4 << 20;
/** A connection that lasted this long starts the backoff from its beginning. */
const STABLE_MS: Millis = 10 * SECOND;
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
  #attempt = 0;
  #connectedAt: Millis = 0;
  #running = false;

  constructor(options: MqttLinkOptions) {
    this.#options = options;
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
    // A clean DISCONNECT, so the broker keeps the will to itself; forced when nothing is there to take it.
    await client.endAsync(!this.connected).catch(() => {});
    this.#over(client, 'stopped');
  }

  /** The library is large, and the first connection comes after the first prediction: it is loaded here. */
  async #connect(): Promise<void> {
    this.session = Buffer.from(this.#options.entropy.bytes(8)).toString('hex');
    const { socket, ...tls } = this.#options.tls?.() ?? {};
    const options = { ...this.#packet(), ...tls };
    try {
      const { default: mqtt, MqttClient } = await import('mqtt');
      const stream = await socket?.();
      if (!this.#running) stream?.destroy();
      else if (stream) this.#follow(new MqttClient(() => stream as never, options));
      else this.#follow(mqtt.connect(this.#options.url, options));
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
    const { fleet, device } = this.#options;
    (client.stream as unknown as Socket).setNoDelay(true);
    try {
      const granted = await client.subscribeAsync(
        Object.fromEntries(
          downChannels.map((channel) => [topicFor(fleet, device, channel), { qos: this.#qosOf(channel) }]),
        ),
      );
      // A broker set up for an older version may not know `reads`: then it is not heard, and not missed.
      const refused = granted.some(({ topic, qos }) => qos === 128 && parseTopic(topic)?.channel !== 'reads');
      if (refused) throw new Error('the broker refused a subscription');
    } catch (error) {
      this.#over(client, reasonOf(error));
      return;
    }
    if (this.#client !== client || !client.connected) return;
    this.connected = true;
    this.#connectedAt = this.#options.clock.mono();
    for (const handler of this.#onConnect) handler();
  }

  #qosOf(channel: Channel): 0 | 1 {
    const saved = this.#options.unconfirmedBatches && (channel === 'ack' || channel.startsWith('batch/'));
    return saved ? 0 : CHANNELS[channel].qos;
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
    client.end(true);
    const was = this.connected;
    this.connected = false;
    const gone = new SkeinError('UNREACHABLE', `connection to the broker: ${reason}`);
    for (const reject of [...this.#unconfirmed]) reject(gone);
    if (was) for (const handler of this.#onDisconnect) handler(reason);
    if (was && this.#options.clock.mono() - this.#connectedAt >= STABLE_MS) this.#attempt = 0;
    this.#again(reason);
  }

  #again(reason: string): void {
    if (!this.#running) return;
    const { clock, entropy, log, reconnect = RECONNECT } = this.#options;
    const waitMs = backoffMs(this.#attempt++, entropy, reconnect);
    log.info('broker not connected', { reason, retryMs: Math.round(waitMs) });
    this.#retry = clock.after(waitMs, () => {
      if (this.#running) void this.#connect();
    });
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

const unwritten = (client: MqttClient): Bytes => (client.stream as unknown as Socket)?.writableLength ?? 0;

const reasonOf = (error: unknown): string => {
  const { code, message } = error as { code?: unknown; message?: string };
  return `${message || 'failed'}${typeof code === 'string' ? ` (${code})` : ''}`;
};
