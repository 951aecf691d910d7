import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDiskBlobs } from '@skein/fleet-server/blobs/disk-blobs.ts';
import { deltaOffers, missingDeltas } from '@skein/fleet-server/models/deltas.ts';
import { DeltaRunner, type MakeDelta } from '@skein/fleet-server/models/run-deltas.ts';
import { makeDeltaInWorker } from '@skein/fleet-server/models/worker-delta.ts';
import { openSqliteStore, type Store } from '@skein/fleet-server/store/sqlite-store.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apply, tuned, twoLayers } from '../../protocol/delta/pairs.ts';
import { smallModel } from './small-model.ts';

const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const weights = tuned(64 * 320, 0.01, 1);
const last = tuned(32 * 64, 0.01, 2);
const old = twoLayers(weights.was, last.was);
const now = twoLayers(weights.now, last.now);
const clock = { now: () => 1_000, mono: () => 0, after: () => ({ cancel() {} }) };
const quiet = { info() {}, warn() {}, error() {} };

let folder: string;
let store: Store;
let blobs: Awaited<ReturnType<typeof openDiskBlobs>>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-deltas-'));
  store = await openSqliteStore(':memory:');
  blobs = await openDiskBlobs(folder);
});
afterEach(async () => {
  await store.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function publish(version: string, release: number, bytes: Uint8Array, change: { id?: string } = {}) {
  const file = { sha256: hex(bytes), size: bytes.length };
  const variant: Manifest['variants'][number] = {
    ...{ id: change.id ?? 'fp32', precision: 'fp32', backend: 'onnxruntime', file },
    ...{ tolerance: 0.001, accuracy: null },
  };
  const { manifest } = smallModel('gas', version, { variants: [variant] });
  await blobs.write(file.sha256, pieces(bytes), bytes.length);
  const row = { name: 'gas', version, release, floor: 0, published_at: release, revoked_at: null };
  await store
    .insertInto('models')
    .values({ ...row, manifest_sha256: hex(bytes), manifest_json: JSON.stringify(manifest) })
    .execute();
}

async function* pieces(bytes: Uint8Array) {
  yield bytes;
}

async function install(device: string, bytes: Uint8Array, revoked = false) {
  const row = { name: device, groups_json: '[]', report_key: '', cert_serial: '', cert_not_after: 0 };
  await store
    .insertInto('devices')
    .values({ ...row, id: device, enrolled_at: 0, revoked_at: revoked ? 1 : null })
    .execute();
  await store
    .insertInto('installed')
    .values({ device, model: 'gas', version: '1', sha256: hex(bytes), since: 0 })
    .execute();
}

const runner = (make: MakeDelta) => new DeltaRunner({ store, blobs, clock, log: quiet, make });

async function blobOf(sha256: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blobs.read(sha256)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('patches for the fleet', () => {
  it('are made from what devices run to the newest release, in a thread, and are offered once they are there', async () => {
    await publish('1.0.0', 1, old);
    await install('d-1', old);
    await publish('1.1.0', 2, now);
    expect(await deltaOffers(store, hex(now))).toEqual([]);
    await runner(makeDeltaInWorker).wake();
    const offers = await deltaOffers(store, hex(now));
    expect(offers).toHaveLength(1);
    const [{ from, patch, sizeBytes }] = offers as [(typeof offers)[number]];
    expect(from).toBe(hex(old));
    const bytes = await blobOf(patch);
    expect([bytes.length, hex(bytes)]).toEqual([sizeBytes, patch]);
    expect(Buffer.compare(await apply(old, bytes), now)).toBe(0);
    expect(await missingDeltas(store)).toEqual([]);
  });

  it('are made for nobody who is gone, from nothing unknown, to nothing revoked', async () => {
    const other = twoLayers(last.was, last.now);
    await publish('1.0.0', 1, old);
    await publish('1.1.0', 2, now);
    await publish('1.2.0', 3, other);
    await store.updateTable('models').set({ revoked_at: 1 }).where('version', '=', '1.2.0').execute();
    await install('d-gone', old, true);
    await install('d-unknown', Buffer.from('a model that was never published here'));
    await install('d-there', now);
    expect(await missingDeltas(store)).toEqual([]);
    await install('d-late', old);
    const size = (bytes: Uint8Array) => ({ sha256: hex(bytes), size: bytes.length });
    expect(await missingDeltas(store)).toEqual([{ model: 'gas', from: size(old), to: size(now) }]);
  });

  it('go to the variant of the same precision when none has the old name', async () => {
    await publish('1.0.0', 1, old, { id: 'float' });
    await publish('1.1.0', 2, now, { id: 'fp32' });
    await install('d-1', old);
    expect((await missingDeltas(store)).map(({ to }) => to.sha256)).toEqual([hex(now)]);
  });

  it('are tried once when there is none, and again after a failure', async () => {
    await publish('1.0.0', 1, old);
    await install('d-1', old);
    await publish('1.1.0', 2, now);
    let calls = 0;
    const failing = runner(async () => {
      calls++;
      throw new Error('no memory');
    });
    await failing.wake();
    await failing.wake();
    expect(calls).toBe(2);
    const none = runner(async () => {
      calls++;
      return undefined;
    });
    await none.wake();
    await none.wake();
    expect(calls).toBe(3);
    expect(await deltaOffers(store, hex(now))).toEqual([]);
  });

  it('are left when the server stops, and made after the next start', async () => {
    await publish('1.0.0', 1, old);
    await install('d-1', old);
    await publish('1.1.0', 2, now);
    await new Promise<void>((over) => {
      const stopped = runner(
        (_old, _now, signal) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(new Error('stopped')));
            void stopped.stop().then(over);
          }),
      );
      void stopped.wake();
    });
    expect(await missingDeltas(store)).toHaveLength(1);
    await runner(async () => ({ patch: Buffer.from('patch'), sha256: hex(Buffer.from('patch')) })).wake();
    expect(await deltaOffers(store, hex(now))).toHaveLength(1);
  });
});
