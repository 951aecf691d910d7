import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { MIB } from '@skein/protocol/units.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TlsTrust } from '../../../agent/src/identity/http-tls.ts';
import { x509Identity } from '../../../agent/src/identity/x509-identity.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { downloadBlobs } from '../../../agent/src/update/blob-download.ts';
import { BlobSupply } from '../../../agent/src/update/blob-supply.ts';
import { openDiskSlots } from '../../../agent/src/update/disk-slots.ts';
import { Flights } from '../../../agent/src/update/flights.ts';
import { type Gate, OPEN } from '../../../agent/src/update/gate.ts';
import { httpPeer, type Peer } from '../../../agent/src/update/http-peer.ts';
import { openHttpSite, type SiteServer } from '../../../agent/src/update/http-site.ts';
import type { BlobSource, Slots } from '../../../agent/src/update/ports.ts';
import { SiteCache } from '../../../agent/src/update/site-cache.ts';
import { siteOrder } from '../../../agent/src/update/site-order.ts';
import { openX509Authority } from '../../../fleet-server/src/fleet/x509-authority.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-site-'));
const quiet = { info() {}, warn() {}, error() {} };
const blob = randomBytes(3 * MIB);
const sha256 = createHash('sha256').update(blob).digest('hex');
const unknown = 'f'.repeat(64);
let one: TlsTrust;
let two: TlsTrust;
let stranger: TlsTrust;

beforeAll(async () => {
  const device = async (name: string, id: string): Promise<TlsTrust> => {
    const authority = await openX509Authority(join(folder, name), systemClock);
    const { tlsKey, csr } = await x509Identity.newTlsKey();
    const { certificate } = await authority.signDevice(csr, id);
    return { ca: authority.ca, certificate, key: tlsKey };
  };
  one = await device('ca', 'd-one');
  two = await device('ca', 'd-two');
  stranger = await device('evil', 'd-evil');
});

/** The uplink, as the serving agent has it. */
let uplink: { bytes: number; open: boolean; served: Buffer; stepMs: number };
const beyond: BlobSource = {
  name: 'server',
  kind: 'server',
  async *blob(wanted, offset, size, end = size) {
    if (!uplink.open || wanted !== sha256) throw new SkeinError('DOWNLOAD_FAILED', 'no such blob');
    for (let at = offset; at < end; at += 65_536) {
      if (uplink.stepMs > 0) await new Promise((done) => setTimeout(done, uplink.stepMs));
      const chunk = uplink.served.subarray(at, Math.min(end, at + 65_536));
      uplink.bytes += chunk.length;
      yield chunk;
    }
  },
};

interface Serving {
  slots: Slots;
  cache: SiteCache;
  server: SiteServer;
  address: string;
  flights: Flights;
}
const opened: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of opened.reverse()) await close();
  rmSync(folder, { recursive: true });
});

async function serve(
  change: { gate?: Gate; cacheBytes?: number; clientsMax?: number } = {},
): Promise<Serving> {
  const slots = await openDiskSlots({ directory: mkdtempSync(join(folder, 'serving-')) });
  const flights = new Flights();
  const shared = { clock: systemClock, entropy: systemEntropy, log: quiet };
  const supply = new BlobSupply({ ...shared, sources: () => [beyond] });
  const fellOff = () => void slots.prune(new Set(cache.kept()));
  const { gate = OPEN, cacheBytes = 16 * MIB, clientsMax = 64 } = change;
  const cache = await SiteCache.open({
    ...{ slots, supply, flights, gate, cacheBytes, fellOff, ...shared },
    stopping: () => false,
  });
  const at = { host: '127.0.0.1', port: 0, clientsMax };
  const server = await openHttpSite(cache, one, at, shared);
  opened.push(() => server.close());
  return { slots, cache, server, flights, address: `https://127.0.0.1:${server.port}` };
}

const peerAt = (address: string, trust = two): Peer => {
  const peer = httpPeer(address, () => trust, systemClock);
  opened.push(() => peer.close());
  return peer;
};

async function all(source: BlobSource, offset = 0, end?: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.blob(sha256, offset, blob.length, end)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function put(slots: Slots): Promise<void> {
  const writer = await slots.writer(sha256, blob.length);
  await writer.write(blob);
  await writer.finish();
}

beforeEach(() => {
  uplink = { bytes: 0, open: true, served: blob, stepMs: 0 };
});

describe('a site cache', () => {
  it('gives what is on its disk, whole and in ranges, without the uplink', async () => {
    const { slots, address } = await serve();
    await put(slots);
    const peer = peerAt(address);
    expect((await all(peer)).equals(blob)).toBe(true);
    expect((await all(peer, 1_000_000)).equals(blob.subarray(1_000_000))).toBe(true);
    expect((await all(peer, 10, 20)).equals(blob.subarray(10, 20))).toBe(true);
    expect(uplink.bytes).toBe(0);
  });

  it('fetches a blob once for all who ask, who read along while it comes', async () => {
    const { address, slots } = await serve();
    uplink.stepMs = 4;
    const asked = Array.from({ length: 8 }, () => all(peerAt(address)));
    for (const got of await Promise.all(asked)) expect(got.equals(blob)).toBe(true);
    expect(uplink.bytes).toBe(blob.length);
    expect(await slots.has(sha256)).toBe(true);
  });

  it('does not hand out the end of a blob that hashes wrong, and asks to come back', async () => {
    const { address } = await serve();
    uplink.served = Buffer.from(blob.map((byte, i) => (i === 5 ? byte ^ 1 : byte)));
    await expect(all(peerAt(address))).rejects.toMatchObject({ code: /UNREACHABLE|DOWNLOAD_FAILED/ });
  });

  it('says at once that nobody has a blob', async () => {
    const { address } = await serve();
    uplink.open = false;
    await expect(all(peerAt(address))).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
  });

  it('keeps to its own maintenance windows for what it would have to fetch, not for what it has', async () => {
    const gate: Gate = {
      hold: () => ({ code: 'WINDOW_CLOSED', detail: 'closed', forMs: 1 }),
      uplink: () => true,
    };
    const { address, slots } = await serve({ gate });
    await expect(all(peerAt(address))).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect(uplink.bytes).toBe(0);
    await put(slots);
    expect((await all(peerAt(address))).equals(blob)).toBe(true);
  });

  it('keeps no more for others than it may, and fetches nothing larger', async () => {
    const { address } = await serve({ cacheBytes: 2 * MIB });
    await expect(all(peerAt(address))).rejects.toMatchObject({ code: 'DOWNLOAD_FAILED' });
    expect(uplink.bytes).toBe(0);
    const { cache, slots } = await serve({ cacheBytes: 4 * MIB });
    const other = randomBytes(2 * MIB);
    const writer = await slots.writer(createHash('sha256').update(other).digest('hex'), other.length);
    await writer.write(other);
    await writer.finish();
    const again = await SiteCache.open({
      ...{ slots, flights: new Flights(), gate: OPEN, cacheBytes: MIB, log: quiet, clock: systemClock },
      ...{ supply: { bytes: () => all(beyond) as never, doubt: () => false }, stopping: () => false },
      fellOff: () => {},
    });
    expect(again.kept()).toEqual([]);
    expect(cache.kept()).toEqual([]);
  });

  it('answers only so many at once, and tells the others to come back', async () => {
    const { address, slots } = await serve({ clientsMax: 2 });
    await put(slots);
    const held = [peerAt(address), peerAt(address)].map((peer) =>
      peer.blob(sha256, 0, blob.length)[Symbol.asyncIterator](),
    );
    for (const reader of held) await reader.next();
    await expect(all(peerAt(address))).rejects.toMatchObject({ code: 'UNREACHABLE' });
    for (const reader of held) await reader.return?.();
  });
});

describe('access to a site cache', () => {
  it('has no device of another fleet, and nobody without a certificate', async () => {
    const { address, slots } = await serve();
    await put(slots);
    const evil = { ...stranger, ca: one.ca };
    for (const trust of [evil, { ca: one.ca }])
      await expect(all(peerAt(address, trust))).rejects.toMatchObject({
        code: expect.stringMatching(/UNREACHABLE|SERVER_NOT_TRUSTED/),
      });
  });

  it('is not asked for by a device that meets another fleet’s', async () => {
    const { address, slots } = await serve();
    await put(slots);
    await expect(all(peerAt(address, stranger))).rejects.toMatchObject({ code: 'SERVER_NOT_TRUSTED' });
  });

  it('is to blobs by hash and to nothing else', async () => {
    const { address, slots } = await serve();
    await put(slots);
    const paths = [
      '/',
      '/v1/blobs/',
      '/v1/blobs/../trust.db',
      `/v1/blobs/${sha256}/..`,
      `/v1/blobs/${unknown}`,
    ];
    for (const path of [...paths, '/v1/blobs/%2e%2e%2ftrust.db', `/v1/blobs/${sha256.toUpperCase()}`])
      expect([path, await ask(address, path)]).toEqual([path, 404]);
    expect(await ask(address, `/v1/blobs/${sha256}`, 'POST')).toBe(405);
    for (const range of ['bytes=-5', 'bytes=5-1', `bytes=${blob.length}-`, 'lines=1-2', 'bytes=0-1,3-4'])
      expect([range, await ask(address, `/v1/blobs/${sha256}`, 'GET', range)]).toEqual([range, 416]);
  });
});

const ask = (address: string, path: string, method = 'GET', range?: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(address);
    const options = {
      ...{ hostname, port, path, method, ca: two.ca, cert: two.certificate, key: two.key },
      rejectUnauthorized: false,
      headers: range ? { range } : {},
    };
    request(options, (message) => {
      message.resume();
      message.once('end', () => resolve(message.statusCode ?? 0));
    })
      .once('error', reject)
      .end();
  });

describe('the order of peers', () => {
  const peers = ['a', 'b', 'c', 'd'].map((name) => ({ ...beyond, name, kind: 'site' as const }));
  const names = (order: BlobSource[]) => order.map(({ name }) => name);

  it('is the same on every device, another for each blob, and ends before oneself', () => {
    const hashes = Array.from({ length: 64 }, (_, i) => createHash('sha256').update(`${i}`).digest('hex'));
    const firsts = new Set(hashes.map((hash) => names(siteOrder(peers, undefined, hash))[0]));
    expect(firsts.size).toBe(4);
    for (const hash of hashes) {
      const whole = names(siteOrder(peers, undefined, hash));
      expect(names(siteOrder(peers.toReversed(), undefined, hash))).toEqual(whole);
      for (const self of whole) {
        const others = peers.filter(({ name }) => name !== self);
        expect(names(siteOrder(others, self, hash))).toEqual(whole.slice(0, whole.indexOf(self)));
      }
    }
  });

  it('lets one device of a site go up, also when all are peers and begin at once', async () => {
    uplink.stepMs = 2;
    const members = await Promise.all(Array.from({ length: 5 }, () => serve()));
    const addresses = members.map(({ address }) => address);
    const brought = members.map(async ({ address: self, slots }, i) => {
      const others = addresses.filter((address) => address !== self).map((address) => peerAt(address));
      const shared = { clock: systemClock, entropy: systemEntropy, log: quiet, siteWaitMs: 60_000 };
      const supply = new BlobSupply({
        ...shared,
        sources: (hash) => [...siteOrder(others, self, hash), beyond],
      });
      const want = [{ sha256, size: blob.length }];
      const watch = { stale: () => false, progress: () => {} };
      expect(await downloadBlobs({ supply, flights: members[i]!.flights }, slots, want, watch)).toBe(true);
    });
    await Promise.all(brought);
    expect(uplink.bytes).toBe(blob.length);
    for (const { slots } of members) expect(existsSync(slots.pathOf(sha256))).toBe(true);
  });
});
