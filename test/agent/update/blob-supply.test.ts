import { createHash } from 'node:crypto';
import { downloadBlobs } from '@skein/agent/update/blob-download.ts';
import { BlobSupply, type SupplyParts } from '@skein/agent/update/blob-supply.ts';
import { Flights } from '@skein/agent/update/flights.ts';
import type { BlobSource } from '@skein/agent/update/ports.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { KIB, MIB } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';
import { SimDisk, simSlots } from '../../sim/disk.ts';
import { VirtualTime } from '../../sim/virtual-time.ts';

const blob = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);
const sha256 = createHash('sha256').update(blob).digest('hex');
const quiet = { info() {}, warn() {}, error() {} };

interface Behaviour {
  kind?: BlobSource['kind'];
  served?: Uint8Array;
  /** Bytes given before each break; without: none. */
  breaks?: number[];
  down?: () => boolean;
  slow?: boolean;
}

/** Serves in chunks of 100 and notes who was asked, and from where. */
function sourceOf(name: string, asked: string[], how: Behaviour = {}): BlobSource {
  const { kind = 'mirror', served = blob, breaks = [], down = () => false, slow = false } = how;
  return {
    name,
    kind,
    async *blob(_, offset, size, end = size) {
      asked.push(`${name}@${offset}`);
      if (down()) throw new SkeinError('UNREACHABLE', `${name} is away`);
      let left = breaks.shift() ?? Number.POSITIVE_INFINITY;
      for (let at = offset; at < end; at += 100) {
        if (left < 100) throw new SkeinError('UNREACHABLE', 'cut off', slow ? { data: { slow } } : {});
        left -= 100;
        yield served.subarray(at, Math.min(end, at + 100));
      }
    },
  };
}

function world(sources: BlobSource[], more: Partial<SupplyParts> = {}) {
  const time = new VirtualTime();
  const clock = time.clock(() => true);
  const disk = new SimDisk();
  const entropy = { bytes: (n: number) => new Uint8Array(n).fill(128) };
  const supply = new BlobSupply({ sources: () => sources, clock, entropy, log: quiet, ...more });
  const bring = async (want = [{ sha256, size: blob.length }], rate?: number) => {
    let result: boolean | SkeinError | undefined;
    downloadBlobs({ supply, flights: new Flights() }, simSlots(disk), want, {
      stale: () => false,
      rate,
      progress: () => {},
    }).then(
      (whole) => (result = whole),
      (error: SkeinError) => (result = error),
    );
    const end = time.now + 3_600_000;
    for (let i = 0; i < 100_000 && result === undefined; i++)
      if (!(await time.step(end))) await new Promise((done) => setImmediate(done));
    return result;
  };
  return { time, disk, bring, supply };
}

describe('sources of a blob', () => {
  it('are asked in order, and the server only when no mirror has it', async () => {
    const asked: string[] = [];
    const away = { down: () => true };
    const sources = [
      sourceOf('m1', asked, away),
      sourceOf('m2', asked),
      sourceOf('server', asked, { kind: 'server' }),
    ];
    const { bring, disk } = world(sources);
    expect(await bring()).toBe(true);
    expect(asked).toEqual(['m1@0', 'm2@0']);
    expect(disk.blobs.get(sha256)).toEqual(blob);
  });

  it('that break off are asked again from that byte, a hundred times and at once', async () => {
    const asked: string[] = [];
    const big = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 11) % 253);
    const sha = createHash('sha256').update(big).digest('hex');
    const breaks = Array.from({ length: 100 }, (_, i) => 100 + 100 * (i % 2));
    const { bring, time, disk } = world([sourceOf('server', asked, { kind: 'server', served: big, breaks })]);
    expect(await bring([{ sha256: sha, size: big.length }])).toBe(true);
    expect(asked).toHaveLength(101);
    expect(new Set(asked).size).toBe(101);
    expect(disk.blobs.get(sha)).toEqual(big);
    expect(time.now).toBeLessThan(100_000);
  });

  it('that lie are found by the hash, left for the next, and not asked for that blob again', async () => {
    const asked: string[] = [];
    const lies = blob.map((byte) => byte ^ 1);
    const sources = [
      sourceOf('liar', asked, { served: lies }),
      sourceOf('honest', asked),
      sourceOf('server', asked, { kind: 'server' }),
    ];
    const { bring, disk } = world(sources);
    expect(await bring()).toBe(true);
    expect(asked).toEqual(['liar@0', 'honest@0']);
    disk.blobs.clear();
    expect(await bring()).toBe(true);
    expect(asked.slice(2)).toEqual(['honest@0']);
  });

  it('that all lie end in the server’s own verdict, in bounded time', async () => {
    const asked: string[] = [];
    const served = blob.map((byte) => byte ^ 1);
    const sources = ['m1', 'm2'].map((name) => sourceOf(name, asked, { served }));
    const { bring } = world([...sources, sourceOf('server', asked, { kind: 'server', served })]);
    expect(await bring()).toMatchObject({ code: 'BLOB_MISMATCH' });
    expect(asked).toEqual(['m1@0', 'm2@0', 'server@0']);
  });

  it('that trickle are left where they are, and the next goes on from that byte', async () => {
    const asked: string[] = [];
    const sources = [
      sourceOf('slow', asked, { breaks: [300], slow: true }),
      sourceOf('server', asked, { kind: 'server' }),
    ];
    const { bring } = world(sources);
    expect(await bring()).toBe(true);
    expect(asked).toEqual(['slow@0', 'server@300']);
  });

  it('that are all away end the try, so that the caller waits and comes back', async () => {
    const asked: string[] = [];
    let away = true;
    const down = () => away;
    const sources = [sourceOf('m1', asked, { down }), sourceOf('server', asked, { kind: 'server', down })];
    const { bring } = world(sources);
    expect(await bring()).toMatchObject({ code: 'UNREACHABLE' });
    expect(asked).toEqual(['m1@0', 'server@0']);
    away = false;
    expect(await bring()).toBe(true);
    // The mirror rests; the server is always asked.
    expect(asked.at(-1)).toBe('server@0');
  });
});

describe('a site', () => {
  it('in trouble is waited for before the uplink is used, and used when it is back', async () => {
    const asked: string[] = [];
    let away = true;
    const sources = [
      sourceOf('peer', asked, { kind: 'site', down: () => away }),
      sourceOf('server', asked, { kind: 'server' }),
    ];
    const { bring, time } = world(sources, { siteWaitMs: 120_000 });
    time.after(20_000, () => (away = false));
    expect(await bring()).toBe(true);
    expect(asked.filter((name) => name.startsWith('server'))).toEqual([]);
  });

  it('that stays away is left for the uplink after the wait', async () => {
    const asked: string[] = [];
    const sources = [
      sourceOf('peer', asked, { kind: 'site', down: () => true }),
      sourceOf('server', asked, { kind: 'server' }),
    ];
    const { bring, time } = world(sources, { siteWaitMs: 120_000 });
    expect(await bring()).toBe(true);
    expect(time.now).toBeGreaterThan(60_000);
    expect(time.now).toBeLessThan(200_000);
    expect(asked.at(-1)).toBe('server@0');
  });
});

describe('a rate cap', () => {
  const size = 4 * MIB;
  const big = new Uint8Array(size);
  const sha = createHash('sha256').update(big).digest('hex');
  const source = (asked: string[]): BlobSource => ({
    name: 'server',
    kind: 'server',
    async *blob(_, offset, __, end = size) {
      asked.push(`${offset}-${end}`);
      yield big.subarray(offset, end);
    },
  });

  it.each([
    [64 * KIB, undefined],
    [1 * MIB, 256 * KIB],
  ])('of %i B/s, and %s by the order, holds within 5%% over the download', async (rate, ordered) => {
    const asked: string[] = [];
    const { supply, time } = world([source(asked)], { rate });
    let done = 0;
    const read = async () => {
      for await (const chunk of supply.bytes({
        sha256: sha,
        size,
        offset: 0,
        rate: ordered,
        stop: () => false,
      }))
        done += chunk.length;
    };
    void read();
    while (done < size && (await time.step(3_600_000)));
    const seen = (size * 1000) / time.now;
    const cap = Math.min(rate, ordered ?? rate);
    expect(seen / cap).toBeGreaterThan(0.95);
    expect(seen / cap).toBeLessThan(1.05);
    const slices = asked.map((range) => range.split('-').map(Number));
    expect(Math.max(...slices.map(([from, to]) => to! - from!))).toBeLessThanOrEqual(
      Math.max(64 * KIB, cap / 2),
    );
  });

  it('is one for all downloads of the device', async () => {
    const { supply, time } = world([source([])], { rate: 256 * KIB });
    let done = 0;
    const read = async () => {
      for await (const chunk of supply.bytes({ sha256: sha, size, offset: 0, stop: () => false }))
        done += chunk.length;
    };
    void read();
    void read();
    while (done < 2 * size && (await time.step(3_600_000)));
    expect((2 * size * 1000) / time.now / (256 * KIB)).toBeCloseTo(1, 1);
  });
});
