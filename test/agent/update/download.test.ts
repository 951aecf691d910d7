import { createHash } from 'node:crypto';
import { downloadBlobs, type Sources } from '@skein/agent/update/blob-download.ts';
import { BlobSupply, serverSource } from '@skein/agent/update/blob-supply.ts';
import { fractionOf, planDownload, retryDelayMs } from '@skein/agent/update/download-plan.ts';
import { Flights } from '@skein/agent/update/flights.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { describe, expect, it } from 'vitest';
import { SimDisk, simSlots } from '../../sim/disk.ts';

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
const sha = createHash('sha256').update(bytes).digest('hex');
const wanted = [{ sha256: sha, size: bytes.length }];

/** Serves `served` in chunks of 30; breaks off before byte `breakAt`. */
const fetcherOf = (served: Uint8Array, breakAt = Number.POSITIVE_INFINITY, asked: number[] = []): Sources => {
  const server = serverSource({
    async *blob(_, offset) {
      asked.push(offset);
      for (let at = offset; at < served.length; at += 30) {
        if (at + 30 > breakAt) throw new SkeinError('UNREACHABLE', 'cut off');
        yield served.subarray(at, at + 30);
      }
    },
  });
  const clock = { now: () => 0, mono: () => 0, after: (_: number, task: () => void) => soon(task) };
  const entropy = { bytes: (n: number) => new Uint8Array(n) };
  const supply = new BlobSupply({ sources: () => [server], clock, entropy, log: quiet });
  return { supply, flights: new Flights() };
};
const soon = (task: () => void) => {
  queueMicrotask(task);
  return { cancel() {} };
};
const quiet = { info() {}, warn() {}, error() {} };
const watch = { stale: () => false, progress: () => {} };

describe('a download plan', () => {
  it('leaves out what is complete, goes on with parts and counts both as done', () => {
    const onDisk: Record<string, { complete: boolean; part: number }> = {
      a: { complete: true, part: 0 },
      b: { complete: false, part: 40 },
      c: { complete: false, part: 900 },
    };
    const blobs = ['a', 'b', 'c', 'b'].map((sha256) => ({ sha256, size: 100 }));
    expect(planDownload(blobs, (s) => onDisk[s]!)).toEqual({
      steps: [
        { sha256: 'b', size: 100, offset: 40 },
        { sha256: 'c', size: 100, offset: 0 },
      ],
      totalBytes: 300,
      doneBytes: 140,
    });
  });

  it('waits longer after each failure, up to five minutes, never twice alike', () => {
    expect([1, 2, 3, 9, 10, 999].map((n) => retryDelayMs(n, 0))).toEqual([
      500, 1000, 2000, 128_000, 150_000, 150_000,
    ]);
    expect(retryDelayMs(1, 0.999)).toBe(1000);
    expect(retryDelayMs(999, 0.9999999)).toBe(300_000);
    expect(fractionOf(Uint8Array.of(255, 255, 255, 255))).toBeLessThan(1);
    expect(fractionOf(Uint8Array.of(128, 0, 0, 0))).toBe(0.5);
  });
});

describe('a download', () => {
  it('goes on at the byte where it broke off', async () => {
    const disk = new SimDisk();
    const asked: number[] = [];
    await expect(
      downloadBlobs(fetcherOf(bytes, 70, asked), simSlots(disk), wanted, watch),
    ).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    const seen: number[] = [];
    const progress = (done: number) => seen.push(done);
    expect(
      await downloadBlobs(fetcherOf(bytes, 999, asked), simSlots(disk), wanted, { ...watch, progress }),
    ).toBe(true);
    // Once more at once, since it had given something; then the caller waits.
    expect(asked).toEqual([0, 60, 60]);
    expect(seen).toEqual([90, 100]);
    expect(await simSlots(disk).has(sha)).toBe(true);
  });

  it('fetches nothing that is there', async () => {
    const disk = new SimDisk();
    disk.blobs.set(sha, bytes);
    const asked: number[] = [];
    expect(await downloadBlobs(fetcherOf(bytes, 999, asked), simSlots(disk), wanted, watch)).toBe(true);
    expect(asked).toEqual([]);
  });

  it('takes no byte more than was signed', async () => {
    const longer = new Uint8Array(500);
    const disk = new SimDisk();
    await expect(downloadBlobs(fetcherOf(longer), simSlots(disk), wanted, watch)).rejects.toMatchObject({
      code: 'BLOB_TOO_LARGE',
    });
    expect(disk.parts.get(sha)!.length).toBeLessThanOrEqual(100);
  });

  it('refuses other bytes of the right length, and keeps none of them', async () => {
    const disk = new SimDisk();
    await expect(
      downloadBlobs(fetcherOf(bytes.map((b) => b ^ 1)), simSlots(disk), wanted, watch),
    ).rejects.toMatchObject({ code: 'BLOB_MISMATCH' });
    expect([disk.parts.size, disk.blobs.size]).toEqual([0, 0]);
  });

  it('begins a part that the disk tore from its first byte, once, and blames nobody for it', async () => {
    const disk = new SimDisk();
    const asked: number[] = [];
    disk.parts.set(sha, new Uint8Array(60));
    const seen: number[] = [];
    const progress = (done: number) => seen.push(done);
    expect(
      await downloadBlobs(fetcherOf(bytes, 999, asked), simSlots(disk), wanted, { ...watch, progress }),
    ).toBe(true);
    expect(asked).toEqual([60, 0]);
    expect(seen.at(-1)).toBe(100);
    expect(disk.blobs.get(sha)).toEqual(bytes);
    disk.blobs.clear();
    disk.parts.set(sha, new Uint8Array(60));
    const liar = fetcherOf(new Uint8Array(100), 999, asked);
    await expect(downloadBlobs(liar, simSlots(disk), wanted, watch)).rejects.toMatchObject({
      code: 'BLOB_MISMATCH',
    });
    expect(asked).toEqual([60, 0, 60, 0]);
  });

  it('calls a blob that ends early unreachable, and keeps the part', async () => {
    const disk = new SimDisk();
    await expect(
      downloadBlobs(fetcherOf(bytes.subarray(0, 60)), simSlots(disk), wanted, watch),
    ).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    expect(disk.parts.get(sha)).toEqual(bytes.subarray(0, 60));
  });

  it('stops at the next chunk when nobody wants it any more', async () => {
    const disk = new SimDisk();
    let left = 3;
    const stale = () => left-- <= 0;
    expect(await downloadBlobs(fetcherOf(bytes), simSlots(disk), wanted, { ...watch, stale })).toBe(false);
    expect(disk.parts.get(sha)!.length).toBe(30);
  });
});
