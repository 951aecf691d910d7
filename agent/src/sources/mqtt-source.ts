/**
 * A topic filter on a local broker, a reading per message. A message that is no reading is reported and counted, and the
 * next one goes on. QoS 1 messages are acknowledged when they came, not when they were predicted: a reading is of now.
 */

import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { MqttClient } from 'mqtt';
import { type LocalBroker, type LocalBrokerOptions, localBroker } from '../mqtt-local.ts';
import type { ReadPayload } from './payload.ts';
import type { Source, SourceHandlers } from './port.ts';

export interface MqttSourceOptions extends LocalBrokerOptions {
  stallAfterMs: Millis;
  topic: string;
  qos: 0 | 1;
}

/** SUBACK return code (MQTT 3.1.1, 3.9.3). */
const REFUSED = 128;

export function mqttSource(options: MqttSourceOptions, read: ReadPayload): Source {
  const { clock, name, stallAfterMs } = options;
  let broker: LocalBroker | undefined;

  const hear = (handlers: SourceHandlers, topic: string, payload: Uint8Array): void => {
    try {
      for (const row of read(payload, topic))
        handlers.reading({ ts: clock.now(), mono: clock.mono(), source: name, ...row });
    } catch (error) {
      handlers.failed(error as Error);
    }
  };

  return {
    name,
    stallAfterMs,
    start(handlers) {
      const mine = localBroker(options, {
        connected: (client) => subscribe(client, options),
        message: (topic, payload) => broker === mine && hear(handlers, topic, payload),
        trouble: (error) => broker === mine && handlers.failed(error),
      });
      broker = mine;
      mine.start();
    },
    async stop() {
      const last = broker;
      broker = undefined;
      await last?.stop();
    },
  };
}

/** @throws SkeinError SOURCE_FAILED */
async function subscribe(client: MqttClient, { topic, qos, name }: MqttSourceOptions): Promise<void> {
  try {
    await client.subscribeAsync(topic, { qos });
  } catch (cause) {
    const granted = (cause as { packet?: { granted?: unknown[] } }).packet?.granted;
    if (!granted?.includes(REFUSED)) throw cause;
    throw new SkeinError('SOURCE_FAILED', `${name}: the broker refuses the topic ${topic}`, {
      cause,
      fix: 'Let this user read the topic (the broker’s access list), or correct `topic`.',
    });
  }
}
