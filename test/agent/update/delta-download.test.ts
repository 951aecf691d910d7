import { downloadBlobs, type Sources } from '@skein/agent/update/blob-download.ts';
import { BlobSupply } from '@skein/agent/update/blob-supply.ts';
import { serverDeltas } from '@skein/agent/update/delta-download.ts';
import { Flights } from '@skein/agent/update/flights.ts';
import { Deferred } from '@skein/agent/update/gate.ts';
import type { DeltaOffer } from '@skein/protocol/delta/offers.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { patchOf, sha256, tuned, twoLayers } from '../../protocol/delta/pairs.ts';
import { SimDisk, simSlots } from '../../sim/disk.ts';

const hex = (bytes: Uint8Array): string => sha256(bytes).toString('hex');
const first = tuned(64 * 1280, 0.01, 1);
const last = tuned(32 * 320, 0.01, 2);
const old = twoLayers(first.was, last.was);
const now = twoLayers(first.now, last.now);
const patch = patchOf(old, now);
const wanted = [{ sha256: hex(now), size: now.length }];
const quiet = { info() {}, warn() {}, error() {} };
const clock = {
  now: () => 0,
  mono: () => 0,
  after(_: number, task: () => void) {
    queueMicrotask(task);
    return { cancel() {} };
  },
};

let disk: SimDisk;
/** Bytes of each blob that were sent. */
let sent: Map<string, number>;
let served: Map<string, Uint8Array>;
let offers: DeltaOffer[];
/** Bytes of a blob after which the server is gone. */
let breakAt: Map<string, number>;
let list: () => Uint8Array;

const document = async (path: string) => (path === `/v1/deltas/${hex(now)}` ? list() : undefined);

function sources(): Sources {
  const server = {
    name: 'server',
    kind: 'server' as const,
    async *blob(sha: string, offset: number, size: number, end = size) {
      const bytes = served.get(sha);
      if (!bytes) throw new SkeinError('DOWNLOAD_FAILED', 'not this blob');
      for (let at = offset; at < Math.min(end, bytes.length); at += 5000) {
        if (at >= (breakAt.get(sha) ?? Number.POSITIVE_INFINITY)) throw new SkeinError('UNREACHABLE', 'gone');
        const chunk = bytes.subarray(at, Math.min(at + 5000, end));
        sent.set(sha, (sent.get(sha) ?? 0) + chunk.length);
        yield chunk;
      }
    },
  };
  const entropy = { bytes: (n: number) => new Uint8Array(n) };
  const supply = new BlobSupply({ sources: () => [server], clock, entropy, log: quiet });
  return { supply, flights: new Flights(), deltas: serverDeltas({ document }, simSlots(disk), quiet) };
}

beforeEach(() => {
  disk = new SimDisk();
  disk.blobs.set(hex(old), old);
  sent = new Map();
  served = new Map([
    [hex(now), now],
    [hex(patch), patch],
  ]);
  offers = [{ from: hex(old), patch: hex(patch), sizeBytes: patch.length }];
  breakAt = new Map();
  list = () => Buffer.from(JSON.stringify({ offers }));
});

const watch = { stale: () => false, progress: () => {} };
const download = (change: Partial<Parameters<typeof downloadBlobs>[3]> = {}) =>
  downloadBlobs(sources(), simSlots(disk), wanted, { ...watch, ...change });
const isThere = () => Buffer.compare(disk.blobs.get(hex(now)) ?? new Uint8Array(), now) === 0;
const bytesSent = () => [sent.get(hex(patch)) ?? 0, sent.get(hex(now)) ?? 0];

describe('a blob from a patch', () => {
  it('costs the patch, and says how far it is of the whole', async () => {
    const seen: number[] = [];
    expect(await download({ progress: (done) => seen.push(done) })).toBe(true);
    expect(isThere()).toBe(true);
    expect(bytesSent()).toEqual([patch.length, 0]);
    expect(seen.at(-1)).toBe(now.length);
    expect(disk.parts.size).toBe(0);
  });

  it('is fetched whole where there is no list, none of use, or rubbish for one', async () => {
    const lists: (() => Uint8Array)[] = [
      () => Buffer.from('{"offers":[]}'),
      () => Buffer.from(JSON.stringify({ offers: [{ ...offers[0]!, from: 'ab'.repeat(32) }] })),
      () => Buffer.from(JSON.stringify({ offers: [{ ...offers[0]!, sizeBytes: now.length }] })),
      () => Buffer.from('{"offers":[{"from":"../../etc"}]}'),
      () => Buffer.alloc(20_000),
      () => {
        throw new SkeinError('UNREACHABLE', 'no answer');
      },
    ];
    for (const answer of lists) {
      list = answer;
      disk.blobs.delete(hex(now));
      sent.clear();
      expect(await download()).toBe(true);
      expect(bytesSent()).toEqual([0, now.length]);
    }
    expect(isThere()).toBe(true);
  });

  it('is fetched whole when the patch lies, is for another base, or is not there; nothing of it stays', async () => {
    const other = patchOf(old, twoLayers(first.now, last.was));
    const wrongBase = patchOf(now, old);
    const cut = patch.subarray(0, 30_000);
    const flipped = Buffer.from(patch);
    flipped[40_000]! ^= 4;
    for (const bad of [other, wrongBase, cut, flipped, undefined]) {
      if (bad) served.set(hex(patch), bad);
      else served.delete(hex(patch));
      offers = [{ from: hex(old), patch: hex(patch), sizeBytes: bad?.length ?? patch.length }];
      disk.blobs.delete(hex(now));
      sent.clear();
      const seen: number[] = [];
      expect(await download({ progress: (done) => seen.push(done) })).toBe(true);
      expect(sent.get(hex(now))).toBe(now.length);
      expect(seen.at(-1)).toBe(now.length);
      expect(isThere()).toBe(true);
    }
  });

  it('is fetched whole when the disk lost bytes of the base', async () => {
    const damaged = Uint8Array.from(old);
    damaged[20_000]! ^= 1;
    disk.blobs.set(hex(old), damaged);
    expect(await download()).toBe(true);
    expect([isThere(), sent.get(hex(now))]).toEqual([true, now.length]);
  });

  it('goes on from what is on the disk when the work broke off, and never begins a patch again', async () => {
    breakAt.set(hex(patch), 160_000);
    await expect(download()).rejects.toMatchObject({ code: 'UNREACHABLE' });
    const kept = disk.parts.get(hex(now))!.length;
    expect(kept).toBeGreaterThan(100_000);
    breakAt.clear();
    sent.clear();
    expect(await download()).toBe(true);
    expect([isThere(), bytesSent()]).toEqual([true, [0, now.length - kept]]);
  });

  it('pauses when it may not go on, and stops when nobody wants it, with the part kept', async () => {
    let calls = 0;
    const hold = () => {
      if (++calls === 2)
        throw new Deferred({ code: 'WINDOW_CLOSED', detail: 'until 2', until: null } as never);
    };
    await expect(download({ hold })).rejects.toBeInstanceOf(Deferred);
    expect(disk.parts.get(hex(now))!.length).toBeGreaterThan(0);
    disk.parts.clear();
    let progressed = false;
    const progress = () => {
      progressed = true;
    };
    const stopping = { stale: () => progressed, progress };
    expect(await download(stopping)).toBe(false);
    expect([disk.blobs.has(hex(now)), disk.parts.get(hex(now))!.length > 0]).toEqual([false, true]);
  });

  it('asks for no list for what is small', async () => {
    let asked = 0;
    list = () => {
      asked++;
      return Buffer.from('{"offers":[]}');
    };
    const small = Buffer.from('manifest');
    served.set(hex(small), small);
    const blobs = [{ sha256: hex(small), size: small.length }];
    expect(await downloadBlobs(sources(), simSlots(disk), blobs, watch)).toBe(true);
    expect(asked).toBe(0);
  });
});
