import { nodeKeys } from '@skein/agent/node-keys.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { keyIdOf, tufKey } from '@skein/protocol/trust/signing.ts';
import { DAY, HOUR } from '@skein/protocol/units.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryTrustStore } from '../../protocol/trust/memory-trust-store.ts';
import {
  DEVICE,
  hex,
  keysOf,
  orderOf,
  roleOf,
  SimulatedRepositories,
  START,
  sha256,
  signerOf,
} from '../../protocol/trust/simulated-repository.ts';

let repo: SimulatedRepositories;
let store: MemoryTrustStore;
let time: { now: number; mono: number };
let clock: Clock;

const clientFor = (device = DEVICE, hardwareTags: string[] = []) =>
  new TrustClient({ fetcher: repo, store, clock, keys: nodeKeys, device, hardwareTags });
const refused = (code: string) => expect.objectContaining({ code });
const order = orderOf('gas', '1.0.0');

beforeEach(() => {
  repo = new SimulatedRepositories();
  store = new MemoryTrustStore();
  time = { now: START, mono: 5_000 };
  clock = { now: () => time.now, mono: () => time.mono, after: () => ({ cancel() {} }) };
  store.pin(repo.image.files['1.root.json']!, repo.director.files['1.root.json']!);
  repo.addModel('gas', '1.0.0', 1);
  repo.addModel('gas', '1.1.0', 2);
  repo.orders = [order];
  repo.publish();
});

describe('a whole refresh', () => {
  it('agrees to an order that director and image repository name alike, and says when it was refreshed', async () => {
    const view = await clientFor().refresh();
    expect(view.orders).toEqual([
      {
        order,
        target: {
          path: manifestPath('gas', '1.0.0'),
          sizeBytes: Buffer.byteLength('manifest of gas@1.0.0'),
          sha256: sha256('manifest of gas@1.0.0'),
        },
        custom: { model: 'gas', version: '1.0.0', release: 1, floor: 0, tags: [] },
      },
    ]);
    expect(view).toMatchObject({
      directorVersion: 1,
      refused: [],
      ackKeys: repo.ackKeys,
      refreshedMono: 5_000,
      refreshedAt: START,
    });
  });

  it('is there again after a restart, but not as fresh', async () => {
    const before = await clientFor().refresh();
    time.mono = 1;
    const after = clientFor().view();
    expect(after).toEqual({ ...before, refreshedMono: Number.NEGATIVE_INFINITY });
  });

  it('commits once, however many documents came', async () => {
    const commits = store.commits;
    await clientFor().refresh();
    expect(store.commits).toBe(commits + 1);
  });

  it('fetches nothing twice that has not changed', async () => {
    const client = clientFor();
    await client.refresh();
    repo.fetched = [];
    await client.refresh();
    expect(repo.fetched).toEqual([
      '/v1/image/2.root.json',
      '/v1/image/timestamp.json',
      '/v1/director/2.root.json',
      '/v1/director/targets.json',
    ]);
  });

  it('is shared by all who ask while it runs', async () => {
    const client = clientFor();
    const [a, b] = await Promise.all([client.refresh(), client.refresh()]);
    expect(a).toBe(b);
    expect(repo.fetched.filter((path) => path.endsWith('timestamp.json'))).toHaveLength(1);
  });

  it('tells a device that was never enrolled what to do', async () => {
    store.state = undefined;
    await expect(clientFor().refresh()).rejects.toMatchObject({
      code: 'NOT_ENROLLED',
      fix: expect.stringContaining('skein-agent enroll'),
    });
  });

  it('follows a publication that falls between the two halves', async () => {
    const client = clientFor();
    repo.intercept = (path) => {
      if (path === '/v1/director/targets.json' && repo.image.versions.snapshot === 1) repo.publish();
      return undefined;
    };
    const view = await client.refresh();
    expect(view.orders).toHaveLength(1);
    expect(store.state?.image.floors.snapshot).toBe(2);
  });
});

describe('what must not be installed', () => {
  it('arbitrary software: a model that only the director knows', async () => {
    repo.orders = [orderOf('evil', '6.6.6')];
    repo.directorTargets = {
      [manifestPath('evil', '6.6.6')]: { length: 4, hashes: { sha256: sha256('evil') } },
    };
    repo.publishDirector();
    const view = await clientFor().refresh();
    expect(view.orders).toEqual([]);
    expect(view.refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('a swapped blob: the director names other bytes for a signed model', async () => {
    repo.directorTargets = {
      [manifestPath('gas', '1.0.0')]: { length: 21, hashes: { sha256: sha256('evil') } },
    };
    repo.publishDirector();
    expect((await clientFor().refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('a revoked model: it is no longer among the signed targets', async () => {
    delete repo.image.targets[manifestPath('gas', '1.0.0')];
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('a model for other hardware', async () => {
    repo.addModel('gas', '1.0.0', 1, { tags: ['cuda', 'jetson'] });
    repo.publish();
    expect((await clientFor(DEVICE, ['cuda']).refresh()).refused).toEqual([
      expect.objectContaining({ code: 'HARDWARE_MISMATCH', final: true }),
    ]);
    expect((await clientFor(DEVICE, ['cuda', 'jetson']).refresh()).orders).toHaveLength(1);
  });

  it('a release below the signed floor, also after the floor has gone from the metadata', async () => {
    repo.addModel('gas', '1.2.0', 3, { floor: 2 });
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('BELOW_FLOOR')]);
    repo.addModel('gas', '1.2.0', 3, { floor: 0 });
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('BELOW_FLOOR')]);
    repo.orders = [orderOf('gas', '1.1.0')];
    repo.publishDirector();
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('a floor that one model’s target claims for another', async () => {
    const file = repo.addModel('other', '1.0.0', 1);
    file.custom = { model: 'gas', version: '9.0.0', release: 9, floor: 9, tags: [] };
    repo.publish();
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('another device’s order', async () => {
    repo.publishDirector('d-bbbbbbbbbb');
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_DISAGREES'));
    expect(store.state?.documents.director).toBeUndefined();
  });

  it('mix and match: orders made against a later image snapshot than the mirror shows', async () => {
    repo.tamperOrders = (orders) => ({ ...orders, imageSnapshotVersion: 2 });
    repo.publishDirector();
    const view = await clientFor().refresh();
    expect(view.orders).toEqual([]);
    expect(view.refused).toEqual([refused('METADATA_DISAGREES')]);
    // The mirror may only be behind: the order is not over for that.
    expect(view.refused[0]).not.toHaveProperty('final');
  });

  it('nothing for good because documents of a first refresh do not fit each other', async () => {
    const snapshot = repo.image.files['1.snapshot.json']!;
    repo.image.files['1.snapshot.json'] = Buffer.concat([snapshot, Buffer.from(' ')]);
    const client = clientFor();
    await expect(client.refresh()).rejects.toBeInstanceOf(SkeinError);
    expect(client.view()!.refused).toEqual([expect.objectContaining({ order })]);
    expect(client.view()!.refused[0]).not.toHaveProperty('final');
    repo.image.files['1.snapshot.json'] = snapshot;
    expect((await client.refresh()).orders).toHaveLength(1);
  });

  it('two orders for one model', async () => {
    repo.orders = [order, orderOf('gas', '1.1.0')];
    repo.publishDirector();
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_INVALID'));
  });

  it('anything once its metadata has expired, while acknowledgement keys stay', async () => {
    const client = clientFor();
    await client.refresh();
    time.now += 8 * DAY;
    expect(client.view()).toMatchObject({
      orders: [],
      refused: [refused('METADATA_EXPIRED')],
      ackKeys: repo.ackKeys,
    });
    expect(clientFor().view()).toMatchObject({ orders: [], refused: [refused('METADATA_EXPIRED')] });
  });
});

describe('rollback', () => {
  const replay = async (files: Record<string, Uint8Array>) => {
    repo.image.files = { ...repo.image.files, ...files };
  };

  it('of the timestamp', async () => {
    const old = { ...repo.image.files };
    repo.publish();
    await clientFor().refresh();
    await replay(old);
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('of the snapshot behind a newer timestamp', async () => {
    repo.publish();
    await clientFor().refresh();
    repo.image.versions.snapshot = 1;
    repo.image.publish(['timestamp']);
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('of the targets behind a newer snapshot', async () => {
    repo.publish();
    await clientFor().refresh();
    repo.image.versions.targets = 1;
    repo.image.publish(['snapshot', 'timestamp']);
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('by dropping a role from the snapshot', async () => {
    repo.image.delegated.team = { version: 1, targets: {}, signers: [signerOf('team')] };
    repo.publish();
    await clientFor().refresh();
    repo.image.delegated = {};
    repo.publish();
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('of the director’s document', async () => {
    const old = repo.director.files['targets.json']!;
    repo.publishDirector();
    await clientFor().refresh();
    repo.director.files['targets.json'] = old;
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('of a version seen in a refresh that did not finish', async () => {
    const old = { ...repo.image.files };
    repo.publish();
    repo.intercept = (path) =>
      path.endsWith('snapshot.json') ? new SkeinError('UNREACHABLE', 'cut') : undefined;
    await expect(clientFor().refresh()).rejects.toEqual(refused('UNREACHABLE'));
    repo.intercept = () => undefined;
    await replay(old);
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });
});

describe('freeze', () => {
  it.each(['root', 'timestamp', 'snapshot', 'targets'] as const)('by an expired image %s', async (role) => {
    await clientFor().refresh();
    repo.image.expires[role] = START + HOUR;
    if (role === 'root') repo.image.publishRoot();
    repo.publish();
    time.now += 2 * HOUR;
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
  });

  it('by an expired director root or document', async () => {
    repo.directorExpires = START + HOUR;
    repo.publishDirector();
    time.now += 2 * HOUR;
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    repo.directorExpires = START + DAY;
    repo.publishDirector();
    await clientFor().refresh();
    repo.director.expires.root = START + HOUR;
    repo.director.publishRoot();
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
  });

  it('with a clock set back: time stays at the highest that was trusted', async () => {
    await clientFor().refresh();
    time.now = START + 6 * DAY;
    await clientFor().refresh();
    time.now = 0;
    repo.image.expires.timestamp = START + 5 * DAY;
    repo.publish();
    const client = clientFor();
    expect(client.now()).toBe(START + 6 * DAY);
    await expect(client.refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
  });

  it('is not made permanent by a clock that was once wrong into the future', async () => {
    await clientFor().refresh();
    time.now = START + 4000 * DAY;
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    time.now = START + HOUR;
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('is not made permanent by a thief of the online keys who also had the clock: his time goes with his keys', async () => {
    const late = START + 200 * DAY;
    Object.assign(repo.image.expires, { timestamp: late + 90 * DAY, snapshot: late + 90 * DAY });
    repo.directorExpires = late + 90 * DAY;
    repo.publish();
    time.now = late;
    await clientFor().refresh();
    time.now = START + HOUR;
    Object.assign(repo.image.expires, { timestamp: START + 7 * DAY, snapshot: START + 7 * DAY });
    repo.directorExpires = START + 7 * DAY;
    repo.publish();
    const client = clientFor();
    await expect(client.refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    repo.image.rotate('timestamp');
    repo.publish();
    // The refresh that learns of it began at the thief's time.
    await expect(client.refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    expect(client.now()).toBe(START + HOUR);
    expect((await client.refresh()).orders).toHaveLength(1);
    expect(clientFor().now()).toBe(START + HOUR);
  });

  it('is not brought about by a key that was only added: the highest time stays', async () => {
    await clientFor().refresh();
    repo.image.signers.timestamp = [signerOf('image timestamp'), signerOf('second')];
    repo.image.thresholds.timestamp = 1;
    repo.image.publishRoot();
    repo.image.publish();
    time.now = 0;
    const client = clientFor();
    await client.refresh();
    expect(client.now()).toBe(START);
  });

  it('before the first refresh is bounded by enrolment: a device that starts in 1970 takes nothing that had expired then', async () => {
    const enrolledAt = START + 30 * DAY;
    time.now = 0;
    const options = { fetcher: repo, store, clock, keys: nodeKeys, device: DEVICE, hardwareTags: [] };
    const client = new TrustClient({ ...options, enrolledAt });
    expect(client.now()).toBe(enrolledAt);
    await expect(client.refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    Object.assign(repo.image.expires, { timestamp: enrolledAt + DAY, snapshot: enrolledAt + DAY });
    repo.directorExpires = enrolledAt + DAY;
    repo.publish();
    expect((await client.refresh()).orders).toHaveLength(1);
  });

  it('does not take acknowledgement keys with it: the director’s side goes on by itself', async () => {
    const client = clientFor();
    await client.refresh();
    repo.image.expires.targets = START + HOUR;
    repo.publish();
    repo.ackKeys = [hex(signerOf('ack 2').publicKey)];
    repo.publishDirector();
    time.now += 2 * HOUR;
    await expect(client.refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    expect(client.view()?.ackKeys).toEqual(repo.ackKeys);
    expect(clientFor().view()).toMatchObject({ orders: [], ackKeys: repo.ackKeys });
  });
});

describe('keys', () => {
  it('are rotated along the chain of roots, also several steps at once', async () => {
    await clientFor().refresh();
    for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const) repo.image.rotate(role);
    repo.director.rotate('root');
    repo.director.rotate('targets');
    repo.publish();
    expect((await clientFor().refresh()).orders).toHaveLength(1);
    expect(store.state).toMatchObject({ image: { floors: { root: 5 } }, director: { floors: { root: 3 } } });
  });

  it('that the old root does not vouch for are refused', async () => {
    repo.image.signers.root = [signerOf('thief')];
    repo.image.publishRoot();
    await expect(clientFor().refresh()).rejects.toEqual(refused('SIGNATURE_INVALID'));
    expect(store.state?.image.floors.root).toBe(1);
  });

  it('that the new root does not hold itself are refused', async () => {
    repo.image.tamper.root = (signed) => {
      signed.roles = { ...(signed.roles as object), root: roleOf([signerOf('absent')]) };
    };
    repo.image.publishRoot();
    await expect(clientFor().refresh()).rejects.toEqual(refused('SIGNATURE_INVALID'));
  });

  it('a root that skips a version is refused', async () => {
    repo.image.versions.root = 2;
    repo.image.publishRoot();
    repo.image.files['2.root.json'] = repo.image.files['3.root.json']!;
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('fast-forwarded versions are recovered from by rotating the online keys', async () => {
    repo.image.versions = {
      ...repo.image.versions,
      timestamp: 1_000_000,
      snapshot: 1_000_000,
      targets: 1_000_000,
    };
    repo.directorVersion = 1_000_000;
    repo.publish();
    await clientFor().refresh();
    repo.image.versions = { ...repo.image.versions, timestamp: 1, snapshot: 1, targets: 1 };
    repo.directorVersion = 1;
    repo.publish();
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
    repo.image.rotate('snapshot');
    repo.image.rotate('timestamp');
    repo.director.rotate('targets');
    repo.publish();
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('a key that is only added resets no version', async () => {
    repo.publish();
    const old = { ...repo.image.files };
    repo.publish();
    await clientFor().refresh();
    repo.image.signers.timestamp = [signerOf('image timestamp'), signerOf('second')];
    repo.image.publishRoot();
    repo.image.files = { ...repo.image.files, 'timestamp.json': old['timestamp.json']! };
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('threshold 0 is refused', async () => {
    repo.image.thresholds.timestamp = 0;
    repo.image.publishRoot();
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_INVALID'));
  });

  it('one key under two ids counts once', async () => {
    const key = repo.image.signers.timestamp[0]!;
    const upper = tufKey(hex(key.publicKey).toUpperCase());
    const twin = keyIdOf(upper.keyval.public!);
    repo.image.tamper.root = (signed) => {
      signed.keys = { ...(signed.keys as object), [twin]: upper };
      const roles = signed.roles as Record<string, { keyids: string[]; threshold: number }>;
      roles.timestamp = { keyids: [...roles.timestamp!.keyids, twin], threshold: 2 };
    };
    repo.image.publishRoot();
    repo.publish();
    const timestamp = JSON.parse(Buffer.from(repo.image.files['timestamp.json']!).toString());
    timestamp.signatures.push({ keyid: twin, sig: timestamp.signatures[0].sig });
    repo.image.files['timestamp.json'] = Buffer.from(JSON.stringify(timestamp));
    await expect(clientFor().refresh()).rejects.toMatchObject({
      code: 'SIGNATURE_INVALID',
      data: { count: 1 },
    });
  });

  it('a signature given twice is refused, even beside enough good ones', async () => {
    const timestamp = JSON.parse(Buffer.from(repo.image.files['timestamp.json']!).toString());
    timestamp.signatures.push(timestamp.signatures[0]);
    repo.image.files['timestamp.json'] = Buffer.from(JSON.stringify(timestamp));
    await expect(clientFor().refresh()).rejects.toEqual(refused('METADATA_INVALID'));
  });

  it('a signature that can not be read does not spoil a good one', async () => {
    const timestamp = JSON.parse(Buffer.from(repo.image.files['timestamp.json']!).toString());
    timestamp.signatures.unshift({ keyid: 'unknown', sig: '' }, { keyid: 'odd', sig: 'not hex' });
    repo.image.files['timestamp.json'] = Buffer.from(JSON.stringify(timestamp));
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('a malleable twin (S + L) of the only signature is refused', async () => {
    const L = 2n ** 252n + 27742317777372353535851937790883648493n;
    const timestamp = JSON.parse(Buffer.from(repo.image.files['timestamp.json']!).toString());
    const sig = Buffer.from(timestamp.signatures[0].sig, 'hex');
    const s = BigInt(`0x${Buffer.from(sig.subarray(32)).reverse().toString('hex')}`) + L;
    const twin = Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse();
    timestamp.signatures[0].sig = Buffer.concat([sig.subarray(0, 32), twin]).toString('hex');
    repo.image.files['timestamp.json'] = Buffer.from(JSON.stringify(timestamp));
    await expect(clientFor().refresh()).rejects.toEqual(refused('SIGNATURE_INVALID'));
  });
});

describe('delegation', () => {
  const team = signerOf('team');
  const file = { length: 3, hashes: { sha256: sha256('abc') } };
  const path = manifestPath('gas', '3.0.0');
  const custom = { model: 'gas', version: '3.0.0', release: 3, floor: 0, tags: [] };
  const delegate = (name: string, paths: string[], extra: object = {}, signers = [team]) => ({
    name,
    ...roleOf(signers),
    paths,
    terminating: false,
    ...extra,
  });
  const delegations = (...roles: object[]) => ({ keys: keysOf([team, signerOf('other')]), roles });

  beforeEach(() => {
    repo.orders = [orderOf('gas', '3.0.0')];
    repo.directorTargets = { [path]: file };
  });

  it('finds a target two levels down, and keeps the roles for the next start', async () => {
    repo.image.delegations = delegations(delegate('gas-team', ['models/gas/*/manifest.json']));
    repo.image.delegated = {
      'gas-team': {
        version: 1,
        targets: {},
        signers: [team],
        delegations: delegations(delegate('sub', ['models/gas/3.0.?/manifest.json'])),
      },
      sub: { version: 1, targets: { [path]: { ...file, custom } }, signers: [team] },
    };
    repo.publish();
    expect((await clientFor().refresh()).orders).toMatchObject([{ custom }]);
    expect(clientFor().view()?.orders).toHaveLength(1);
  });

  it('takes the first role in order of appearance', async () => {
    repo.image.delegations = delegations(
      delegate('first', ['models/*/*/manifest.json']),
      delegate('second', ['models/*/*/manifest.json']),
    );
    const other = { length: 3, hashes: { sha256: sha256('xyz') }, custom };
    repo.image.delegated = {
      first: { version: 1, targets: { [path]: { ...file, custom } }, signers: [team] },
      second: { version: 1, targets: { [path]: other }, signers: [team] },
    };
    repo.publish();
    expect((await clientFor().refresh()).orders).toMatchObject([{ target: { sha256: sha256('abc') } }]);
    expect(repo.fetched).not.toContain('/v1/image/1.second.json');
  });

  it('ends at a terminating role that does not have the target', async () => {
    repo.image.delegations = delegations(
      delegate('first', ['models/*/*/manifest.json'], { terminating: true }),
      delegate('second', ['models/*/*/manifest.json']),
    );
    repo.image.delegated = {
      first: { version: 1, targets: {}, signers: [team] },
      second: { version: 1, targets: { [path]: { ...file, custom } }, signers: [team] },
    };
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('does not let a role speak outside its paths', async () => {
    repo.image.delegations = delegations(delegate('first', ['models/other/*/manifest.json']));
    repo.image.delegated = {
      first: { version: 1, targets: { [path]: { ...file, custom } }, signers: [team] },
    };
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('verifies a role under the delegator it was reached by (diamond)', async () => {
    const other = signerOf('other');
    const otherPath = manifestPath('heat', '1.0.0');
    const heat = { model: 'heat', version: '1.0.0', release: 1, floor: 0, tags: [] };
    const inner = (paths: string[], signer = team) => delegations(delegate('shared', paths, {}, [signer]));
    repo.image.delegations = delegations(
      delegate('a', ['models/gas/*/manifest.json']),
      delegate('b', ['models/heat/*/manifest.json']),
    );
    repo.image.delegated = {
      a: { version: 1, targets: {}, signers: [team], delegations: inner(['models/gas/*/manifest.json']) },
      b: {
        version: 1,
        targets: {},
        signers: [team],
        delegations: inner(['models/heat/*/manifest.json'], other),
      },
      shared: {
        version: 1,
        targets: { [path]: { ...file, custom }, [otherPath]: { ...file, custom: heat } },
        signers: [team],
      },
    };
    repo.orders = [orderOf('gas', '3.0.0'), orderOf('heat', '1.0.0')];
    repo.directorTargets = { [path]: file, [otherPath]: file };
    repo.publish();
    const view = await clientFor().refresh();
    expect(view.orders.map(({ order: { model } }) => model)).toEqual(['gas']);
    expect(view.refused).toEqual([refused('SIGNATURE_INVALID')]);
  });

  it('goes round no circle and visits no more roles than its bound', async () => {
    const names = Array.from({ length: 40 }, (_, at) => `r${at}`);
    const every = delegations(...names.map((name) => delegate(name, ['models/*/*/manifest.json'])));
    repo.image.delegations = every;
    repo.image.delegated = Object.fromEntries(
      names.map((name) => [name, { version: 1, targets: {}, signers: [team], delegations: every }]),
    );
    repo.publish();
    expect((await clientFor().refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
    expect(repo.fetched.filter((name) => /1\.r\d+\.json/.test(name)).length).toBeLessThanOrEqual(32);
  });
});

describe('what is installed', () => {
  const installedOf = (name: string, version: string) => ({
    model: name,
    version,
    manifestSha256: sha256(`manifest of ${name}@${version}`),
  });
  const holding = (...installed: ReturnType<typeof installedOf>[]) =>
    new TrustClient({
      fetcher: repo,
      store,
      clock,
      keys: nodeKeys,
      device: DEVICE,
      hardwareTags: [],
      installed: () => installed,
    });
  const both = () => holding(installedOf('gas', '1.0.0'), installedOf('gas', '1.1.0'));

  it('is held against the signed targets, and again from disk after a restart', async () => {
    expect((await both().refresh()).barred).toEqual([]);
    delete repo.image.targets[manifestPath('gas', '1.1.0')];
    repo.image.targetsCustom = {
      skein: { revoked: [{ model: 'gas', version: '1.1.0', release: 2, floor: 0, reason: 'wrong labels' }] },
    };
    repo.orders = [orderOf('gas', '1.1.0')];
    repo.publish();
    const view = await both().refresh();
    const said = {
      ...installedOf('gas', '1.1.0'),
      code: 'MODEL_REVOKED',
      message: 'gas@1.1.0 was withdrawn by offline keys: wrong labels',
    };
    expect(view.barred).toEqual([said]);
    expect(view.refused).toEqual([refused('MODEL_REVOKED')]);
    expect(both().view()!.barred).toEqual([said]);
  });

  it('under the same name with other bytes is another model', async () => {
    const other = { ...installedOf('gas', '1.0.0'), manifestSha256: sha256('other') };
    expect((await holding(other).refresh()).barred).toEqual([refused('MODEL_REVOKED')]);
  });

  it('below a raised floor is told apart from what was withdrawn', async () => {
    repo.addModel('gas', '1.1.0', 2, { floor: 2 });
    repo.publish();
    expect((await both().refresh()).barred).toMatchObject([{ version: '1.0.0', code: 'BELOW_FLOOR' }]);
  });

  it('has a floor as soon as signed targets name one, whatever becomes of the refresh and of the documents', async () => {
    await both().refresh();
    repo.addModel('gas', '1.1.0', 2, { floor: 2 });
    repo.publish();
    repo.intercept = (path) => (path.startsWith('/v1/director/') ? Buffer.from('{}') : undefined);
    const client = both();
    await expect(client.refresh()).rejects.toBeInstanceOf(SkeinError);
    expect(client.spokenAgainst().releaseFloors).toEqual({ gas: 2 });
    store.state!.documents = { image: {} };
    const after = both();
    expect(after.view()).toBeUndefined();
    expect(after.spokenAgainst().releaseFloors).toEqual({ gas: 2 });
  });

  it('is barred by no expired, missing or forged metadata', async () => {
    const client = both();
    await client.refresh();
    const revoking = new SimulatedRepositories();
    revoking.image.signers.targets = [signerOf('thief')];
    for (const _ of [1, 2]) revoking.publish();
    repo.intercept = (path) =>
      path.startsWith('/v1/image/') ? revoking.image.files[path.slice(10)] : undefined;
    await expect(client.refresh()).rejects.toBeInstanceOf(SkeinError);
    expect(client.view()!.barred).toEqual([]);
    time.now += 400 * DAY;
    expect(client.view()!.barred).toEqual([]);
  });

  it('stays barred when the metadata that says so expires', async () => {
    delete repo.image.targets[manifestPath('gas', '1.1.0')];
    repo.publish();
    const client = both();
    await client.refresh();
    time.now += 400 * DAY;
    expect(client.view()!.barred).toMatchObject([{ version: '1.1.0' }]);
  });

  describe('is asked for before a start loads a model, and', () => {
    beforeEach(async () => {
      delete repo.image.targets[manifestPath('gas', '1.1.0')];
      repo.addModel('gas', '1.0.0', 1, { floor: 1 });
      repo.publish();
      await both().refresh();
    });

    it('answered as it was judged, without the documents', () => {
      const said = { barred: [refused('MODEL_REVOKED')], releaseFloors: { gas: 1 } };
      expect(both().spokenAgainst()).toMatchObject(said);
      store.state!.documents = { image: {} };
      expect(both().spokenAgainst()).toMatchObject(said);
    });

    it('judged again when something else is installed, and after a refresh that was not whole', async () => {
      const alone = holding(installedOf('gas', '1.0.0'));
      expect(alone.spokenAgainst()).toEqual({ barred: [], releaseFloors: { gas: 1 } });
      repo.addModel('gas', '1.2.0', 3, { floor: 3 });
      repo.publish();
      repo.intercept = (path) => (path.startsWith('/v1/director/') ? Buffer.from('{}') : undefined);
      await expect(both().refresh()).rejects.toBeInstanceOf(SkeinError);
      expect(both().spokenAgainst().releaseFloors).toEqual({ gas: 3 });
    });
  });
});

describe('hostile bytes', () => {
  const served = ['timestamp.json', '1.snapshot.json', '1.targets.json'];

  it.each([...served, 'director'])('refuses %s with any part of it altered, and recovers', async (name) => {
    const files = name === 'director' ? repo.director.files : repo.image.files;
    const file = name === 'director' ? 'targets.json' : name;
    const good = files[file]!;
    const step = Math.max(1, Math.floor(good.length / 40));
    for (let at = 0; at < good.length; at += step) {
      const bad = good.slice();
      bad[at]! ^= 1;
      files[file] = bad;
      await expect(clientFor().refresh(), `byte ${at}`).rejects.toBeInstanceOf(SkeinError);
      files[file] = good.subarray(0, at);
      await expect(clientFor().refresh(), `cut at ${at}`).rejects.toBeInstanceOf(SkeinError);
    }
    files[file] = good;
    expect((await clientFor().refresh()).orders).toHaveLength(1);
  });

  it('bounds what it accepts before it parses', async () => {
    repo.image.files['timestamp.json'] = Buffer.alloc(17 * 1024, ' ');
    await expect(clientFor().refresh()).rejects.toEqual(refused('PAYLOAD_TOO_LARGE'));
  });
});
