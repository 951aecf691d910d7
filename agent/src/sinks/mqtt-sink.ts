/** Predictions as JSON on a local broker, each under the topic that its template gives. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { KIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type LocalBroker, type LocalBrokerOptions, localBroker } from '../mqtt-local.ts';
import { within } from '../within.ts';
import type { SinkItem, Transport } from './port.ts';
import { topicOf } from './topic-template.ts';

export interface MqttSinkOptions extends Omit<LocalBrokerOptions, 'maxBytes'> {
  topic: string;
  qos: 0 | 1;
  retain: boolean;
}

/** A broker that takes nothing for this long is given up. */
const PUBLISH_WITHIN_MS: Millis = 10 * SECOND;

export function mqttTransport(options: MqttSinkOptions): Transport {
  const { clock, name, qos, retain, topic, url } = options;
  let broker: LocalBroker | undefined;

  const gone = (what: string): SkeinError => new SkeinError('UNREACHABLE', `${name}: ${url}: ${what}`);
  const publish = async ({ message }: SinkItem): Promise<void> => {
    const client = broker?.client;
    if (!client) throw gone('not connected');
    await client.publishAsync(topicOf(topic, message), JSON.stringify(message), { qos, retain });
  };

  return {
    open(ready, trouble) {
      broker = localBroker({ ...options, maxBytes: KIB }, { ready, trouble });
      broker.start();
    },
    async send(items, stopped) {
      const work = Promise.all(items.map(publish));
      const refusal = () => {
        if (!stopped.aborted) broker?.drop(new Error('it takes nothing'));
        return gone(stopped.aborted ? 'stopped' : 'nothing was taken for 10 s');
      };
      await within(work, { clock, ms: PUBLISH_WITHIN_MS, stopped, refusal });
    },
    async close() {
      await broker?.stop();
      broker = undefined;
    },
  };
}
