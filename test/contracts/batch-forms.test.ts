/**
 * Every form of a batch, from the outbox over mTLS through a broker into the store and back as an acknowledgement: real
 * outbox, drain and link, real ingest; on the embedded broker and on Mosquitto. What is JSON a stranger can read.
 */
import { join } from 'node:path';
import { startAedesBroker } from '@skein/fleet-server/broker/aedes-broker.ts';
import type { Broker } from '@skein/fleet-server/broker/port.ts';
import { startIngest } from '@skein/fleet-server/ingest/run-ingest.ts';
import { nativeCodecs } from '@skein/fleet-server/node-codecs.ts';
import { readSeries } from '@skein/fleet-server/store/sqlite-batches.ts';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { takeNonce } from '@skein/protocol/batch/nonce.ts';
import type { Encoding } from '@skein/protocol/batch/sealed.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSqliteOutbox } from '../../agent/src/outbox/sqlite-outbox.ts';
import { nativeVerify, systemClock, systemEntropy } from '../../agent/src/system-clock.ts';
import { createDrain } from '../../agent/src/uplink/drain.ts';
import { openMqttLink } from '../../agent/src/uplink/mqtt-link.ts';
import { testSigner } from '../protocol/batch/random.ts';
import { zstd } from '../protocol/batch/zstd.ts';
import { createParties, FLEET, type Parties, silent } from './broker-parties.ts';
import { startExternal } from './external-broker.ts';
import { findMosquitto } from './mosquitto.ts';
import { prediction } from './outbox.contract.ts';

interface Stage {
  broker: Broker;
  mqtts: number;
  /** Plain, for whoever reads along. */
  mqtt: number;
  stop(): Promise<void>;
}

async function embedded(parties: Parties): Promise<Stage> {
  const endpoint = { host: '127.0.0.1', port: 0, variable: 'X' };
  const ends = { devices: endpoint, local: endpoint, maxPacketBytes: 1 << 20 };
  const broker = await startAedesBroker({
    ...{ ...ends, fleet: FLEET, tls: parties.server, log: silent },
    mayConnect: async () => true,
  });
  return { broker, ...broker.ports, stop: () => broker.close() };
}

const external = (parties: Parties) => startExternal(parties, 1 << 20);

const device = testSigner('device');
const server = testSigner('server');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

for (const [name, start, missing] of [
  ['the embedded broker', embedded, false],
  ['Mosquitto', external, findMosquitto() === undefined],
] as const) {
  const suffix = missing ? ' (skipped: mosquitto is not installed)' : '';
  describe.skipIf(missing)(`a batch over ${name}${suffix}`, () => {
    let parties: Parties;
    let stage: Stage;
    beforeAll(async () => {
      parties = await createParties();
      stage = await start(parties);
    });
    afterAll(async () => {
      await stage?.stop();
      parties?.dispose();
    });

    it.each<[Encoding, boolean]>([
      ['columns', false],
      ['compact', false],
      ['compact', true],
      ['json', false],
    ])('is stored and acknowledged as %s; at QoS 0: %s', async (encoding, unconfirmed) => {
      const id = `d-${encoding}-${Number(unconfirmed)}`;
      const store = await openSqliteStore(':memory:');
      const row = { name: id, groups_json: '[]', cert_serial: '1', cert_not_after: 0, enrolled_at: 0 };
      const keyed = { ...row, report_key: hex(device.publicKey), revoked_at: null };
      await store
        .insertInto('devices')
        .values({ id, ...keyed })
        .execute();
      const ingest = startIngest({
        ...{ store, broker: stage.broker, fleet: FLEET, ackSigner: server, codecs: nativeCodecs },
        ...{ verify: nativeVerify, clock: systemClock, log: silent, sinks: [] },
      });
      const reader = await connectAsync(`mqtt://127.0.0.1:${stage.mqtt}`);
      await reader.subscribeAsync(topicFor(FLEET, id, 'batch/predictions'), { qos: 1 });
      const read = new Promise<Buffer>((resolve) => reader.once('message', (_, payload) => resolve(payload)));
      const tls = await parties.device(id);
      const shared = { clock: systemClock, entropy: systemEntropy, log: silent };
      const link = openMqttLink({
        ...{ ...shared, url: `mqtts://localhost:${stage.mqtts}`, fleet: FLEET, device: id },
        ...{ tls: () => tls, keepaliveMs: 60_000, will: () => '{}', unconfirmedBatches: unconfirmed },
      });
      const outbox = openSqliteOutbox({
        ...{ path: join(parties.folder, `${id}.db`), fleet: FLEET, device: id, signer: device },
        ...{ clock: systemClock, entropy: systemEntropy, reserveBytes: 0 },
        form: () => ({ encoding, zstd }),
      });
      const drain = createDrain({
        ...{ ...shared, link, outbox, device: id, verify: nativeVerify, batchIntervalMs: 60_000 },
        ackKeys: () => [hex(server.publicKey)],
        takesNonces: () => encoding !== 'json',
        trouble: (error) => expect.fail(error.message),
      });
      try {
        const records = [0, 1, 2, 3].map(prediction);
        for (const record of records) outbox.append('predictions', record);
        outbox.commit();
        drain.start();
        link.start();
        const payload = await read;
        const stored = () => outbox.ledger().find(({ stream }) => stream === 'predictions')!.stored;
        await expect.poll(stored, { timeout: 10_000 }).toBe(4);
        const series = { device: id, fromMs: 0, toMs: Number.MAX_SAFE_INTEGER, limit: 10 };
        expect(await readSeries(store, 'predictions', series)).toEqual(records);
        const { batch, nonce } = takeNonce(payload);
        expect(nonce === undefined).toBe(encoding === 'json');
        expect(Buffer.from(batch.subarray(0, 4)).toString()).toBe(
          { columns: 'SKB1', compact: 'SKB2', json: '{"v"' }[encoding],
        );
        if (encoding === 'json') expect(JSON.parse(payload.toString()).records).toEqual(records);
      } finally {
        drain.stop();
        await link.stop();
        await reader.endAsync(true);
        await ingest.stop();
        outbox.close();
        await store.destroy();
      }
    });
  });
}
