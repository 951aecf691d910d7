/**
 * A connection to a broker on the local network, as sources and sinks use it; the fleet's own is uplink/mqtt-link.ts.
 * MQTT 3.1.1, clean sessions, nothing of mqtt.js's own reconnecting or queueing: a client object is thrown away with its
 * connection, and the next comes after a jittered backoff of up to a minute.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Timer } from '@skein/protocol/ports.ts';
import { type Bytes, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { MqttClient } from 'mqtt';
import { readCredentials, readSecret } from './disk-secret.ts';
import { limitedStream } from './mqtt-limit.ts';
import { type BackoffPolicy, backoffMs } from './uplink/backoff.ts';

export interface LocalBrokerOptions {
  url: string;
  /** Shown in errors and the head of the client id. */
  name: string;
  /** Files, read at each connect. */
  credentials?: string | undefined;
  ca?: string | undefined;
  certificate?: string | undefined;
  key?: string | undefined;
  /** Of one message that is received. */
  maxBytes: Bytes;
  clock: Clock;
  entropy: Entropy;
  reconnect?: BackoffPolicy;
}

export interface LocalBrokerHandlers {
  /** Ready for what it is there for; what it throws ends this connection. */
  connected?(client: MqttClient): Promise<void> | void;
  ready?(): void;
  message?(topic: string, payload: Uint8Array): void;
  /** A connection ended or did not come; the next one is on its way. */
  trouble(error: SkeinError): void;
}

export interface LocalBroker {
  /** Connected and ready. */
  readonly client: MqttClient | undefined;
  start(): void;
  /** Ends the connection that is there; the next one comes by itself. */
  drop(reason: Error): void;
  stop(): Promise<void>;
}

const RECONNECT: BackoffPolicy = { baseMs: SECOND, capMs: MINUTE };
const CONNECT_TIMEOUT_MS: Millis = 10 * SECOND;
const STABLE_MS: Millis = 10 * SECOND;
const GOODBYE_MS: Millis = 300;
const KEEPALIVE_S = 30;
const FIX = 'Check that the broker runs, `url`, and who may connect (`credentials`, `ca`).';

export function localBroker(options: LocalBrokerOptions, handlers: LocalBrokerHandlers): LocalBroker {
  const { clock, entropy, name, reconnect = RECONNECT, url } = options;
  let socket: Socket | undefined;
  let client: MqttClient | undefined;
  let ready = false;
  let running = false;
  let attempt = 0;
  let readyMono: Millis = 0;
  let retry: Timer | undefined;

  const connect = (): void => {
    let packet: ReturnType<typeof packetFor>;
    try {
      packet = packetFor(options);
      socket = socketFor(options);
    } catch (error) {
      again(error);
      return;
    }
    const mine = socket;
    let reason: unknown = new Error('the connection was closed');
    mine.setTimeout(CONNECT_TIMEOUT_MS, () => mine.destroy(new Error('no answer within 10 s')));
    mine.on('error', (error) => {
      reason = error;
    });
    const closed = (): void => again(reason);
    mine.once('close', closed);
    // Not before TLS has its verdict: the first packet carries the password.
    mine.once(mine instanceof TLSSocket ? 'secureConnect' : 'connect', async () => {
      const { MqttClient } = await import('mqtt');
      if (mine.destroyed) return;
      mine.off('close', closed);
      mine.setTimeout(0);
      if (running) follow(new MqttClient(() => limitedStream(mine, options.maxBytes) as never, packet));
    });
  };
  const follow = (mine: MqttClient): void => {
    client = mine;
    let reason: unknown = new Error('the connection was closed');
    mine.on('error', (error) => {
      reason = error;
    });
    mine.on('connect', () => {
      Promise.resolve(handlers.connected?.(mine)).then(
        () => {
          ready = client === mine;
          readyMono = clock.mono();
          if (ready) handlers.ready?.();
        },
        (error) => over(mine, error),
      );
    });
    mine.on('message', (topic, payload) => {
      if (client === mine) handlers.message?.(topic, payload);
    });
    mine.on('close', () => over(mine, reason));
  };
  const over = (mine: MqttClient, reason: unknown): void => {
    if (client !== mine) return;
    client = undefined;
    if (ready && clock.mono() - readyMono >= STABLE_MS) attempt = 0;
    ready = false;
    mine.end(true);
    again(reason);
  };
  const again = (reason: unknown): void => {
    if (!running) return;
    const waitMs = backoffMs(attempt++, entropy, reconnect);
    retry = clock.after(waitMs, () => running && connect());
    handlers.trouble(troubleOf(url, name, reason));
  };

  return {
    get client() {
      return ready ? client : undefined;
    },
    start() {
      if (running) return;
      running = true;
      attempt = 0;
      connect();
    },
    drop(reason) {
      if (client) over(client, reason);
    },
    async stop() {
      running = false;
      retry?.cancel();
      const last = client;
      client = undefined;
      const polite = ready;
      ready = false;
      if (last) await endWithin(last, polite, clock);
      socket?.destroy();
    },
  };
}

/** A DISCONNECT, but nobody waits for a peer that does not take it. */
async function endWithin(client: MqttClient, polite: boolean, clock: Clock): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => {
    timer = clock.after(GOODBYE_MS, resolve);
  });
  if (polite) await Promise.race([client.endAsync(false).catch(() => {}), late]);
  timer?.cancel();
  client.end(true);
}

function socketFor({ url, ca, certificate, key }: LocalBrokerOptions): Socket {
  const { hostname, port, protocol } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  if (protocol === 'mqtt:') return connectTcp({ host, port: Number(port || 1883), noDelay: true });
  const own = certificate && key ? { cert: readSecret(certificate), key: readSecret(key) } : {};
  const trust = ca ? { ca: readSecret(ca) } : {};
  return connectTls({
    host,
    port: Number(port || 8883),
    servername: isName(host) ? host : '',
    ...trust,
    ...own,
  });
}

const isName = (host: string): boolean => !/^[\d.]+$/.test(host) && !host.includes(':');

const packetFor = ({ credentials, entropy, name }: LocalBrokerOptions) => ({
  // 23 characters at most: what every 3.1.1 broker takes (MQTT-3.1.3-5).
  clientId: `skein-${name.replace(/[^a-z0-9]/g, '').slice(0, 8)}-${Buffer.from(entropy.bytes(4)).toString('hex')}`,
  protocolVersion: 4 as const,
  clean: true,
  keepalive: KEEPALIVE_S,
  connectTimeout: CONNECT_TIMEOUT_MS,
  reconnectPeriod: 0,
  queueQoSZero: false,
  resubscribe: false,
  // Its cache of every number below 65,536 takes 10 MB and a tenth of a start.
  writeCache: false,
  ...(credentials ? readCredentials(credentials) : {}),
});

function troubleOf(url: string, name: string, reason: unknown): SkeinError {
  if (reason instanceof SkeinError && reason.code !== 'INTERNAL') return reason;
  const { message } = asSkeinError(reason);
  const { code } = reason as { code?: unknown };
  const what = `${message || 'no connection'}${typeof code === 'string' && !message.includes(code) ? ` (${code})` : ''}`;
  return new SkeinError('UNREACHABLE', `${name}: ${url}: ${what}`, { cause: reason, fix: FIX });
}
