/** From a running server's store to a device's disk, over mTLS, with nothing replaced. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { downloadBlobs } from '@skein/agent/update/blob-download.ts';
import { BlobSupply, serverSource } from '@skein/agent/update/blob-supply.ts';
import { serverDeltas } from '@skein/agent/update/delta-download.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import { Flights } from '@skein/agent/update/flights.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { openDiskBlobs } from '@skein/fleet-server/blobs/disk-blobs.ts';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { tuned, twoLayers } from '../../protocol/delta/pairs.ts';
import { putTestRoots, startTestServer, type TestServer } from '../running-server.ts';
import { smallModel } from './small-model.ts';

const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const weights = tuned(64 * 640, 0.01, 1);
const last = tuned(32 * 64, 0.01, 2);
const old = twoLayers(weights.was, last.was);
const now = twoLayers(weights.now, last.now);
const folder = mkdtempSync(join(tmpdir(), 'skein-delta-device-'));
const told: { message: string; data: Record<string, unknown> | undefined }[] = [];
const say = (message: string, data?: Record<string, unknown>) => void told.push({ message, data });
const log = { info: say, warn: say, error: say };

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
  await putTestRoots(server);
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function publish(version: string, release: number, bytes: Uint8Array): Promise<void> {
  const file = { sha256: hex(bytes), size: bytes.length };
  const { manifest } = smallModel('gas', version);
  const variants = [{ ...manifest.variants[0]!, file }];
  const blobs = await openDiskBlobs(join(server.stateDir, 'blobs'));
  await blobs.write(
    file.sha256,
    (async function* () {
      yield bytes;
    })(),
    bytes.length,
  );
  const row = { name: 'gas', version, release, floor: 0, published_at: release, revoked_at: null };
  await server.running.store
    .insertInto('models')
    .values({ ...row, manifest_sha256: hex(bytes), manifest_json: JSON.stringify({ ...manifest, variants }) })
    .execute();
}

it('a device that runs the version before fetches a patch over mTLS, and its slot holds the signed bytes', async () => {
  const { device, deviceUrl, ca, certificate, key } = await server.enrol();
  await publish('1.0.0', 1, old);
  await publish('1.1.0', 2, now);
  const row = { device, model: 'gas', version: '1.0.0', sha256: hex(old), since: 1 };
  await server.running.store.insertInto('installed').values(row).execute();
  await server.restart();

  const address = new URL(deviceUrl);
  address.port = String(server.running.ports.device);
  const fetcher = httpFetcher(address.href, () => ({ ca, certificate, key }), systemClock);
  const slots = await openDiskSlots({ directory: join(folder, 'models') });
  writeFileSync(slots.pathOf(hex(old)), old);
  const deltas = serverDeltas(fetcher, slots, log);
  await vi.waitFor(async () => expect(await deltas.offers(hex(now))).toHaveLength(1), { timeout: 10_000 });

  const clock = systemClock;
  const sources = () => [serverSource(fetcher)];
  const supply = new BlobSupply({ sources, clock, entropy: systemEntropy, log });
  const from = { supply, flights: new Flights(), deltas };
  const wanted = [{ sha256: hex(now), size: now.length }];
  expect(await downloadBlobs(from, slots, wanted, { stale: () => false, progress: () => {} })).toBe(true);
  fetcher.close();
  expect(readFileSync(slots.pathOf(hex(now))).equals(now)).toBe(true);
  const made = told.find(({ message }) => message === 'made a blob from a patch');
  expect(made?.data).toMatchObject({ from: hex(old), wholeBytes: now.length });
  expect(Number(made!.data!.patchBytes)).toBeLessThan(0.7 * now.length);
});
