/** A device that is gone leaves nothing behind at the broker. */
import { CHANNELS, type Channel, topicFor } from '@skein/protocol/topics.ts';
import type { Broker } from './port.ts';

export const TOPICS = Object.keys(CHANNELS) as Channel[];

/** Clears what is retained on any of its topics. @throws while the broker can not be reached */
export async function clearTopics(broker: Broker, fleet: string, device: string): Promise<void> {
  for (const channel of TOPICS) {
    await broker.publish(topicFor(fleet, device, channel), '', { qos: 1, retain: true });
  }
}
