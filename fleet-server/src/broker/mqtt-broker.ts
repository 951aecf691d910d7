/**
 * A broker of somebody else's (Mosquitto, EMQX, HiveMQ): the server is a client of it, over its own TLS and
 * credentials, MQTT 3.1.1. It subscribes to the up channels of its fleet only, anew after every reconnect;
 * TCP order keeps each device's messages in order. Nothing is queued here: while the broker is away `publish`
 * fails, and `onConnect` is the moment to publish again what must be retained.
 * Keeping devices inside their topics, and revoked ones out, is the external broker's ACL and CRL.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import { CHANNELS, type Channel, topicFor } from '@skein/protocol/topics.ts';
import { type Bytes, type Millis, SECOND } from '@skein/protocol/units.ts';
import { connect } from 'mqtt';
import type { Broker, MessageHandler } from './port.ts';

export interface MqttBrokerOptions {
  /** `mqtts://host:8883` or `mqtt://127.0.0.1:1883`. */
  url: string;
  fleet: string;
  username?: string;
  password?: string;
  tls?: { ca?: string; cert?: string; key?: string };
  maxPacketBytes: Bytes;
  /** Of a connection, and of a subscription on it. */
  answerWithinMs?: Millis;
  clock: Pick<Clock, 'now'>;
  log: Log;
}

const RECONNECT_MS: Millis = SECOND;
const ANSWER_WITHIN_MS: Millis = 10 * SECOND;

function answered<T>(work: Promise<T>, withinMs: Millis): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the broker does not answer a subscription')), withinMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Resolves once connected and subscribed. @throws SkeinError UNREACHABLE */
export async function connectMqttBroker(options: MqttBrokerOptions): Promise<Broker> {
  const { fleet, clock, log, answerWithinMs = ANSWER_WITHIN_MS } = options;
  const messageHandlers: MessageHandler[] = [];
  const connectHandlers: (() => void)[] = [];
  const client = connect(options.url, {
    protocolVersion: 4,
    clean: true,
    reconnectPeriod: RECONNECT_MS,
    connectTimeout: answerWithinMs,
    queueQoSZero: false,
    resubscribe: false,
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...options.tls,
  });
  const topics = Object.fromEntries(upTopics(fleet).map((topic) => [topic, { qos: 1 as const }]));
  let unreachedSince: Millis | null = clock.now();
  const said = new Set<string>();
  /** Once each: it is tried again every second, for as long as the broker is away. */
  const say = ({ message: error }: Error) => {
    if (!said.has(error)) log.warn('mqtt broker', { error });
    said.add(error);
  };
  const begin = async () => {
    const granted = await answered(client.subscribeAsync(topics), answerWithinMs);
    if (granted.some((g) => g.qos > 2)) throw new Error('the broker refused a subscription');
    if (said.size > 0) log.info('mqtt broker reached again', {});
    said.clear();
    unreachedSince = null;
    for (const handler of connectHandlers) handler();
  };
  client.on('message', (topic, payload) => {
    if (payload.length > options.maxPacketBytes) return log.warn('mqtt message too large', { topic });
    for (const handler of messageHandlers) void handler(topic, payload);
  });
  client.on('close', () => {
    unreachedSince ??= clock.now();
  });
  client.on('error', say);

  await new Promise<void>((resolve, reject) => {
    let everReady = false;
    const fail = (cause: Error) => {
      client.end(true);
      reject(
        new SkeinError('UNREACHABLE', `no MQTT broker at ${options.url}: ${cause.message}`, {
          cause,
          fix: 'Check that the broker runs and that SKEIN_BROKER_URL and its credentials are right.',
        }),
      );
    };
    // Once there was a connection it is sought for ever: who gives up here would be deaf until somebody restarts it.
    const again = (error: Error) => {
      say(error);
      client.stream.destroy();
    };
    client.once('error', fail);
    client.on('connect', () => {
      begin().then(
        () => {
          everReady = true;
          client.off('error', fail);
          resolve();
        },
        (error: Error) => (everReady ? again(error) : fail(error)),
      );
    });
  });

  return {
    // One connection for all devices: holding it would make all wait for one.
    holdsSenders: false,
    get unreachedSince() {
      return unreachedSince;
    },
    async publish(topic, payload, { qos, retain }) {
      if (!client.connected) throw new SkeinError('UNREACHABLE', `${options.url} is not connected`);
      await client.publishAsync(topic, Buffer.from(payload), { qos, retain });
    },
    onMessage: (handler) => void messageHandlers.push(handler),
    onConnect(handler) {
      connectHandlers.push(handler);
      if (unreachedSince === null) queueMicrotask(handler);
    },
    async disconnect(device) {
      log.warn('an external broker must refuse a revoked device itself', { device });
    },
    async close() {
      await client.endAsync(true);
    },
  };
}

const upTopics = (fleet: string): string[] =>
  (Object.keys(CHANNELS) as Channel[])
    .filter((channel) => CHANNELS[channel].way === 'up')
    .map((channel) => topicFor(fleet, '+', channel));
