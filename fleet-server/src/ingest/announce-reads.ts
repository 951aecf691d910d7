/**
 * Tells each device, retained and signed, which batches this server reads; what it does not say is never sent to it.
 * Once per device and connection to the broker: it forgets nothing else, and a device pays for it at each connect.
 */
import { READS_DOMAIN, type ReadsMessage } from '@skein/protocol/messages.ts';
import type { Log, Signer } from '@skein/protocol/ports.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { Broker } from '../broker/port.ts';

export interface ReadsDeps {
  broker: Broker;
  fleet: string;
  log: Log;
  /** Asked at each use: the key may be replaced while the server runs. */
  signer(): Signer;
  zstd: boolean;
  /** Another one at each start: devices then offer what a server restored from a backup may lack. */
  start: string;
}

export function announceReads({
  broker,
  fleet,
  log,
  signer,
  start,
  zstd,
}: ReadsDeps): (device: string) => void {
  const message: ReadsMessage = { forms: ['SKB1', 'SKB2', 'SKN1'], ...(zstd ? { zstd: 1 } : {}), start };
  const payload = new TextEncoder().encode(JSON.stringify(message));
  /** By device the key that signed what it was told. */
  const told = new Map<string, string>();
  broker.onConnect(() => told.clear());
  return (device) => {
    const key = signer();
    const by = key.publicKey.join();
    if (told.get(device) === by) return;
    told.set(device, by);
    const bytes = sealEnvelope(key, READS_DOMAIN, device, payload);
    broker
      .publish(topicFor(fleet, device, 'reads'), bytes, { qos: 1, retain: true })
      .catch((error: Error) => {
        told.delete(device);
        log.warn('publishing reads', { device, error: error.message });
      });
  };
}
