import { readStreams } from '@skein/fleet-server/fleet/device-view.ts';
import { ACK_DOMAIN, type AckMessage, parseAck } from '@skein/protocol/batch/ack.ts';
import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { askedHash, withNonce } from '@skein/protocol/batch/nonce.ts';
import { chainHead, type Encoding, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { isShortAck, openShortAck } from '@skein/protocol/batch/short-ack.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Broker } from '../../../fleet-server/src/broker/port.ts';
import type { RecordSink } from '../../../fleet-server/src/ingest/port.ts';
import { type Ingest, startIngest } from '../../../fleet-server/src/ingest/run-ingest.ts';
import { countStored, readSeries } from '../../../fleet-server/src/store/sqlite-batches.ts';
import { openSqliteStore, type Store } from '../../../fleet-server/src/store/sqlite-store.ts';
import { systemClock } from '../../../fleet-server/src/system-clock.ts';
import { prediction } from '../../contracts/outbox.contract.ts';
import { testSigner, testVerify } from '../../protocol/batch/random.ts';

const device = testSigner('device');
const server = testSigner('server');
const EPOCH = '0123456789abcdef';
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const headerOf = (seq: number, n: number, more: Partial<BatchHeader> = {}): BatchHeader => ({
  v: 1,
  fleet: 'home',
  device: 'd-1',
  stream: 'predictions',
  epoch: EPOCH,
  ordinal: 1,
  seq,
  n,
  prev: NO_HEAD,
  observed: n,
  kept: n,
  gaps: [],
  bridge: null,
  ...more,
});
const records = (seq: number, n: number) => Array.from({ length: n }, (_, i) => prediction(seq + i));
const batchOf = (seq: number, n: number, more: Partial<BatchHeader> = {}, signer = device) =>
  sealBatch(headerOf(seq, n, more), n > 0 ? records(seq, n) : [], signer);

let store: Store;
let ingest: Ingest;
let acks: AckMessage[];
let shorts: string[][];
let send: (bytes: Uint8Array, topic?: string) => void;
let waiters: (() => void)[];
let seen: PredictionRecord[];
let sinkFails: boolean;
let committed: string[];

const acked = async (count: number): Promise<AckMessage[]> => {
  while (acks.length < count) await new Promise<void>((resolve) => waiters.push(resolve));
  return acks;
};

beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  const row = { name: 'one', groups_json: '[]', cert_serial: '1', cert_not_after: 0, enrolled_at: 0 };
  const report_key = hex(device.publicKey);
  await store
    .insertInto('devices')
    .values({ id: 'd-1', report_key, revoked_at: null, ...row })
    .execute();
  await store
    .insertInto('devices')
    .values({ id: 'd-2', report_key, revoked_at: 5, ...row })
    .execute();
  acks = [];
  shorts = [];
  waiters = [];
  seen = [];
  committed = [];
  sinkFails = false;
  const broker: Broker = {
    holdsSenders: false,
    unreachedSince: null,
    async publish(topic, payload) {
      expect(topic).toBe('skein/v1/home/d-1/ack');
      if (isShortAck(payload as Uint8Array)) {
        shorts.push(openShortAck(testVerify, [hex(server.publicKey)], 'd-1', payload as Uint8Array));
        for (const wake of waiters.splice(0)) wake();
        return;
      }
      // What an acknowledgement says must be in the store already.
      const bytes = openEnvelope(
        testVerify,
        [hex(server.publicKey)],
        ACK_DOMAIN,
        'd-1',
        payload as Uint8Array,
      );
      acks.push(parseAck.parse(bytes, 'ack'));
      for (const wake of waiters.splice(0)) wake();
    },
    onMessage(handler) {
      send = (bytes, topic = 'skein/v1/home/d-1/batch/predictions') => handler(topic, bytes);
    },
    onConnect() {},
    async disconnect() {},
    async close() {},
  };
  const sink: RecordSink = {
    stream: 'predictions',
    async accept(_tx, _device, given) {
      if (sinkFails) throw new Error('sink broken');
      seen.push(...(given as PredictionRecord[]));
    },
    committed: (id) => committed.push(id),
  };
  const log = { info() {}, warn() {}, error() {} };
  ingest = startIngest({
    store,
    broker,
    fleet: 'home',
    ackSigner: server,
    verify: testVerify,
    clock: systemClock,
    log,
    sinks: [sink],
  });
});

afterEach(async () => {
  await ingest.stop();
  await store.destroy();
});

describe('ingest', () => {
  it('stores a batch, tells its sinks, and acknowledges with the new head', async () => {
    const bytes = batchOf(0, 3);
    send(bytes);
    expect(await acked(1)).toEqual([
      { stream: 'predictions', epoch: EPOCH, upTo: 2, head: chainHead(bytes), re: chainHead(bytes) },
    ]);
    expect(seen).toEqual(records(0, 3));
    expect(committed).toEqual(['d-1']);
    const span = { device: 'd-1', fromMs: 0, toMs: Number.MAX_SAFE_INTEGER };
    expect(await readSeries(store, 'predictions', { ...span, limit: 2 })).toEqual(records(1, 2));
    expect(await countStored(store, 'predictions')).toEqual(new Map([['d-1', 3]]));
  });

  it('takes several waiting batches in one go and answers with the last word', async () => {
    const first = batchOf(0, 3);
    const second = batchOf(3, 2, { prev: chainHead(first) });
    send(first);
    send(second);
    expect(await acked(1)).toMatchObject([{ upTo: 4, head: chainHead(second) }]);
    expect(ingest.counts).toMatchObject({ accepted: 2, records: 5 });
  });

  it('acknowledges a repeated batch again and counts nothing twice', async () => {
    const bytes = batchOf(0, 3);
    send(bytes);
    await acked(1);
    send(bytes);
    const [one, two] = await acked(2);
    expect(two).toEqual(one);
    expect(seen).toHaveLength(3);
    expect(ingest.counts).toMatchObject({ accepted: 1, duplicates: 1, records: 3 });
  });

  it('answers a hole with what it has', async () => {
    const bytes = batchOf(5, 3);
    send(bytes);
    expect(await acked(1)).toMatchObject([{ upTo: -1, head: NO_HEAD, re: chainHead(bytes) }]);
    expect(ingest.counts).toMatchObject({ gaps: 1, records: 0 });
  });

  it('records what a device gave up, and says whether it was stored before', async () => {
    const first = batchOf(0, 3, { observed: 8 });
    const late = batchOf(0, 0, { gaps: [{ from: 0, to: 2, reason: 'cap' }], bridge: chainHead(first) });
    const more = batchOf(3, 0, {
      prev: chainHead(first),
      gaps: [{ from: 3, to: 9, reason: 'cap' }],
      bridge: 'cd'.repeat(32),
    });
    for (const [i, bytes] of [first, late, more].entries()) {
      send(bytes);
      await acked(i + 1);
    }
    expect(acks[1]).toMatchObject({ upTo: 2, stored: true });
    expect(acks[2]).toMatchObject({ upTo: 9, head: 'cd'.repeat(32), stored: false });
    const gaps = await store.selectFrom('gaps').selectAll().execute();
    expect(gaps).toMatchObject([{ device: 'd-1', from_seq: 3, to_seq: 9, reason: 'cap' }]);
    expect(await readStreams(store, 'd-1')).toMatchObject([
      { observed: 8, stored: 3, dropped: 7, lostAtServer: 0, nextSeq: 10, gaps: [{ from: 3, to: 9 }] },
    ]);
  });

  it('reports a second chain under one identity and stores none of it', async () => {
    const first = batchOf(0, 3);
    send(first);
    await acked(1);
    send(sealBatch(headerOf(0, 2), records(50, 2), device));
    expect(await acked(2)).toMatchObject([{}, { upTo: 2, head: chainHead(first) }]);
    const incidents = await store.selectFrom('incidents').selectAll().execute();
    expect(incidents).toMatchObject([{ device: 'd-1', code: 'IDENTITY_CLONED' }]);
    expect(ingest.counts).toMatchObject({ forks: 1, records: 3 });
  });

  it('refuses what is forged, revoked, misplaced or no batch, and goes on', async () => {
    send(batchOf(0, 3, {}, testSigner('somebody')));
    send(batchOf(0, 3, { device: 'd-2' }), 'skein/v1/home/d-2/batch/predictions');
    send(batchOf(0, 3, { device: 'd-3' }), 'skein/v1/home/d-3/batch/predictions');
    send(batchOf(0, 3), 'skein/v1/home/d-1/batch/health');
    send(batchOf(0, 3, { device: 'd-2' }));
    send(new Uint8Array(0));
    send(new TextEncoder().encode('{"v":1}'));
    send(batchOf(0, 3), 'skein/v1/elsewhere/d-1/batch/predictions');
    send(batchOf(0, 3));
    expect(await acked(1)).toMatchObject([{ upTo: 2 }]);
    expect(ingest.counts).toMatchObject({ accepted: 1, forged: 5, invalid: 2 });
    expect(acks).toHaveLength(1);
  });

  it('counts what a device should not have sent, and tells of it', async () => {
    send(batchOf(0, 3, {}, testSigner('somebody')));
    send(batchOf(0, 3, {}, testSigner('somebody')));
    send(new Uint8Array(9));
    send(batchOf(0, 3, { device: 'd-2' }), 'skein/v1/home/d-2/batch/predictions');
    send(batchOf(0, 3));
    await acked(1);
    await ingest.stop();
    const faults = await store.selectFrom('faults').selectAll().orderBy('kind').execute();
    expect(faults).toMatchObject([
      { device: 'd-1', kind: 'forged', count: 2 },
      { device: 'd-1', kind: 'invalid', count: 1 },
    ]);
    const told = await store.selectFrom('incidents').selectAll().orderBy('code').execute();
    expect(told).toMatchObject([
      { device: 'd-1', code: 'BATCH_FORGED', severity: 'critical', end_time: null },
      { device: 'd-1', code: 'BATCH_INVALID', severity: 'warning', end_time: null },
    ]);
  });

  it.each([
    [300, 1],
    [16, 0],
  ])(
    'tells of a flood of %i rubbish batches: %i, but not of a backlog within an agent’s windows',
    async (sent, told) => {
      for (let burst = 0; burst < 80; burst++) {
        for (let i = 0; i < sent / 4; i++) send(new Uint8Array(1));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await ingest.stop();
      const floods = await store.selectFrom('faults').selectAll().where('kind', '=', 'flood').execute();
      expect(floods).toHaveLength(told);
      expect(ingest.counts.slowed).toBeGreaterThan(0);
    },
  );

  it('knows a repeated number within one group by its chain', async () => {
    const first = batchOf(0, 3);
    send(first);
    send(first);
    send(sealBatch(headerOf(0, 3), records(50, 3), device));
    expect(await acked(1)).toMatchObject([{ upTo: 2, head: chainHead(first) }]);
    expect(ingest.counts).toMatchObject({ accepted: 1, duplicates: 1, forks: 1, records: 3 });
  });

  it('acknowledges nothing that it could not store, and recovers', async () => {
    sinkFails = true;
    const bytes = batchOf(0, 3);
    send(bytes);
    while (ingest.counts.failed === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(acks).toEqual([]);
    expect(await countStored(store, 'predictions')).toEqual(new Map());
    sinkFails = false;
    send(bytes);
    expect(await acked(1)).toMatchObject([{ upTo: 2 }]);
  });

  it('stores records of a later version without showing them to sinks', async () => {
    const odd = { ts: 5, shape: 'unknown' };
    send(sealBatch(headerOf(0, 2), [odd, prediction(1)], device));
    await acked(1);
    expect(seen).toEqual([prediction(1)]);
    expect(await countStored(store, 'predictions')).toEqual(new Map([['d-1', 2]]));
  });

  it('forgets what exceeds the queue; the device sends it again', async () => {
    for (let i = 0; i < 100; i++) send(new Uint8Array(1));
    expect(ingest.counts.overflow).toBe(36);
  });

  it('answers the compact form in short where that says all, and in full where it does not', async () => {
    const seal = (seq: number, more: Partial<BatchHeader>, encoding: Encoding) =>
      sealBatch(headerOf(seq, 2, more), records(seq, 2), device, encoding);
    const first = seal(0, {}, 'compact');
    const second = seal(2, { prev: chainHead(first) }, 'compact');
    send(seal(9, { prev: chainHead(second) }, 'compact'));
    await acked(1);
    expect(acks[0]).toMatchObject({ upTo: -1 });
    send(first);
    while (shorts.length < 1) await new Promise<void>((resolve) => waiters.push(resolve));
    send(second);
    while (shorts.length < 2) await new Promise<void>((resolve) => waiters.push(resolve));
    expect(shorts).toEqual([[chainHead(first)], [chainHead(second)]]);
    send(first);
    await acked(2);
    expect(acks[1]).toMatchObject({ upTo: 3, head: chainHead(second), re: chainHead(first) });
    send(second);
    while (shorts.length < 3) await new Promise<void>((resolve) => waiters.push(resolve));
    expect(shorts[2]).toEqual([chainHead(second)]);
  });

  it('answers to a batch and the nonce it came with, in either form, and stores the batch alone', async () => {
    const nonce = Uint8Array.of(8, 7, 6, 5, 4, 3, 2, 1);
    const first = batchOf(0, 2);
    send(withNonce(nonce, first));
    expect(await acked(1)).toMatchObject([{ upTo: 1, re: askedHash(nonce, chainHead(first)) }]);
    const second = sealBatch(headerOf(2, 2, { prev: chainHead(first) }), records(2, 2), device, 'compact');
    send(withNonce(nonce, second));
    while (shorts.length < 1) await new Promise<void>((resolve) => waiters.push(resolve));
    expect(shorts).toEqual([[askedHash(nonce, chainHead(second))]]);
    expect(seen).toEqual(records(0, 4));
    const { rows } = await sql<{ bytes: Buffer }>`SELECT bytes FROM batches ORDER BY seq`.execute(store);
    expect(rows.map(({ bytes }) => Buffer.from(bytes))).toEqual(
      [first, second].map((one) => Buffer.from(one)),
    );
    send(withNonce(nonce, first).slice(0, 9));
    await vi.waitFor(() => expect(ingest.counts.invalid).toBe(1));
  });
});
