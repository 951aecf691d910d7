/** From the operator's offline keys through the server to what a device agrees to. */
import { execFileSync } from 'node:child_process';
import {
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { initKeys } from '@skein/fleet-server/cli/init-keys.ts';
import { listKeys } from '@skein/fleet-server/cli/key-files.ts';
import { publishBundle } from '@skein/fleet-server/cli/publish-bundle.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { keyIdOf, signDocument, tufKey } from '@skein/protocol/trust/signing.ts';
import { DAY } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryTrustStore } from '../../protocol/trust/memory-trust-store.ts';
import { DEVICE, hex, orderOf, signerOf } from '../../protocol/trust/simulated-repository.ts';
import { type Desk, openDesk } from '../models/desk.ts';
import { hashOf, smallModel, writeSmallModel } from '../models/small-model.ts';

let desk: Desk;
let dir: string;
const refused = (code: string) => expect.objectContaining({ code });

beforeEach(async () => {
  desk = await openDesk();
  dir = join(desk.folder, 'keys');
});
afterEach(() => desk.close());

const init = (passphrase?: string) =>
  initKeys({ api: desk.api, dir, clock: desk.clock, verify: nativeVerify, passphrase });
const bundle = (name = 'gas', version = '1.0.0') =>
  writeSmallModel(join(desk.folder, `${name}-${version}`), smallModel(name, version));
const publish = (path: string, extra: { floor?: number; passphrase?: string } = {}) =>
  publishBundle({ api: desk.api, dir, clock: desk.clock, verify: nativeVerify, path, ...extra });

/** A device that fetches from this server's rooms. */
function device(store: MemoryTrustStore, id = DEVICE) {
  const document = async (path: string) => {
    const [, , repo, file] = path.split('/') as ['', 'v1', 'image' | 'director', string];
    if (repo === 'director' && file === 'targets.json') return desk.director.document(id);
    return desk.repository.file(repo, file);
  };
  const fetcher = { document, blob: (sha256: string) => desk.blobs.read(sha256) };
  return new TrustClient({
    fetcher,
    store,
    clock: desk.clock,
    keys: ed25519Keys(nativeVerify),
    device: id,
    hardwareTags: [],
  });
}

async function enrolled(): Promise<MemoryTrustStore> {
  const roots = (await desk.repository.latestRoots())!;
  const store = new MemoryTrustStore();
  store.pin(roots.image, roots.director);
  return store;
}

/** A passphrase is turned into a key slowly on purpose, several times here. */
const SLOW_ON_PURPOSE_MS = 90_000;

describe('the whole way', () => {
  it('a published model that is ordered is what the device agrees to, byte for byte', async () => {
    await init();
    const published = await publish(bundle());
    expect(published).toMatchObject({ name: 'gas', version: '1.0.0', release: 1, floor: 0, changed: true });
    const store = await enrolled();
    const order = orderOf('gas', '1.0.0');
    await desk.director.set(DEVICE, 'gas', order, null);
    const view = await device(store).refresh();
    expect(view.orders).toMatchObject([{ order, target: { sha256: published.manifestSha256 } }]);
    expect(view.directorVersion).toBe(desk.announced.at(-1)?.[1]);
    const chunks = [];
    for await (const chunk of desk.blobs.read(published.manifestSha256)) chunks.push(chunk);
    expect(hashOf(Buffer.concat(chunks))).toBe(published.manifestSha256);
  });

  it('goes on for weeks with online keys alone, and stops when the server stops signing', async () => {
    await init();
    await publish(bundle());
    const store = await enrolled();
    for (let day = 0; day < 30; day++) {
      desk.time.now += DAY;
      await desk.repository.resignDue(desk.time.now);
      await device(store).refresh();
    }
    desk.time.now += 8 * DAY;
    await expect(device(store).refresh()).rejects.toEqual(refused('METADATA_EXPIRED'));
    expect(await desk.repository.resignDue(desk.time.now)).toBe(true);
    await device(store).refresh();
  });

  it('a server restored from an old backup is still obeyed', async () => {
    await init();
    await publish(bundle());
    const store = await enrolled();
    const tables = ['trust_documents', 'director_documents'] as const;
    const backup = await Promise.all(
      tables.map((table) => desk.store.selectFrom(table).selectAll().execute()),
    );
    desk.time.now += DAY;
    await publish(bundle('gas', '1.1.0'));
    await desk.director.set(DEVICE, 'gas', orderOf('gas', '1.0.0'), null);
    await device(store).refresh();
    for (const [at, table] of tables.entries()) {
      await desk.store.deleteFrom(table).execute();
      if (backup[at]!.length > 0)
        await desk.store
          .insertInto(table)
          .values(backup[at] as never)
          .execute();
    }
    desk.time.now += DAY;
    // Targets are offline-signed: the operator's folder knows the lost ones and signs past them.
    await publish(bundle('gas', '1.1.0'), { floor: 1 });
    const view = await device(store).refresh();
    expect(view.orders).toHaveLength(1);
  });
});

describe('keys', () => {
  it('are files that only their owner can read, 2 of 3 for the roots, and roots last two years', async () => {
    const { keys, changed } = await init();
    expect(changed).toBe(true);
    expect(keys.map((key) => key.name)).toEqual([
      'director-root-1.json',
      'director-root-2.json',
      'director-root-3.json',
      'root-1.json',
      'root-2.json',
      'root-3.json',
      'targets-1.json',
    ]);
    for (const name of readdirSync(dir)) expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
    const root = JSON.parse(Buffer.from((await desk.repository.latestRoots())!.image).toString());
    expect(root.signed.roles.root.threshold).toBe(2);
    expect(root.signatures).toHaveLength(3);
    expect(root.signed.expires).toBe('2028-01-01T00:00:00Z');
  });

  it('init can be repeated, and carries on where an interruption left it', async () => {
    await init();
    expect((await init()).changed).toBe(false);
    const roots = await desk.api.call('getRoots');
    await desk.store.deleteFrom('trust_documents').execute();
    const again = await init();
    expect(again.changed).toBe(true);
    expect(again.keys).toHaveLength(7);
    expect(await desk.api.call('getRoots')).toEqual(roots);
  });

  it('of someone else are not mixed with the server’s roots', async () => {
    await init();
    dir = join(desk.folder, 'other');
    await expect(init()).rejects.toEqual(refused('CONFLICT'));
    await expect(publish(bundle())).rejects.toEqual(refused('KEYS_INVALID'));
  });

  it('sign nothing on the word of a server that shows a root of its own', async () => {
    await init();
    await publish(bundle());
    // The thief's root names every key of the operator, and one more that may sign targets.
    const thief = signerOf('thief');
    const root = JSON.parse(Buffer.from((await desk.repository.latestRoots())!.image).toString()).signed;
    const id = keyIdOf(hex(thief.publicKey));
    root.keys[id] = tufKey(hex(thief.publicKey));
    for (const role of ['root', 'targets'])
      root.roles[role] = { keyids: [...root.roles[role].keyids, id], threshold: 1 };
    const evil = { _type: 'targets', spec_version: '1.0.34', version: 9, expires: root.expires, targets: {} };
    const honest = desk.api.call;
    desk.api.call = (async (name: string, given: object) => {
      if (name === 'getRoots') return { image: toBase64(signDocument(root, [thief])), director: '' };
      if (name === 'getTargets') return { targets: toBase64(signDocument(evil, [thief])) };
      return honest(name as 'getRoots', given as never);
    }) as typeof honest;
    await expect(publish(bundle('gas', '1.1.0'))).rejects.toEqual(refused('SERVER_NOT_TRUSTED'));
  });

  it('under a passphrase sign only with it', { timeout: SLOW_ON_PURPOSE_MS }, async () => {
    await init('correct horse');
    const stored = readFileSync(join(dir, 'targets-1.json'), 'utf8');
    expect(JSON.parse(stored)).not.toHaveProperty('seed');
    const path = bundle();
    await expect(publish(path)).rejects.toThrow(/SKEIN_KEY_PASSPHRASE|protected by a passphrase/);
    await expect(publish(path, { passphrase: 'wrong' })).rejects.toThrow(/wrong passphrase/);
    expect((await publish(path, { passphrase: 'correct horse' })).changed).toBe(true);
  });

  it('whose file was altered are refused', async () => {
    await init();
    const [root, targets] = ['root-1.json', 'targets-1.json'].map((name) =>
      JSON.parse(readFileSync(join(dir, name), 'utf8')),
    );
    writeFileSync(join(dir, 'targets-1.json'), JSON.stringify({ ...targets, seed: root.seed }));
    await expect(publish(bundle())).rejects.toEqual(refused('KEYS_INVALID'));
    writeFileSync(join(dir, 'targets-1.json'), '{"format":1');
    expect(() => listKeys(dir)).toThrow(refused('KEYS_INVALID'));
  });
});

describe('publishing', () => {
  beforeEach(async () => {
    await init();
  });

  it('counts releases per model and changes nothing when nothing changed', async () => {
    await publish(bundle());
    expect((await publish(bundle('gas', '1.1.0'))).release).toBe(2);
    expect((await publish(bundle('heat', '1.0.0'))).release).toBe(1);
    const before = await desk.repository.latestTargets();
    expect(await publish(bundle())).toMatchObject({ release: 1, changed: false });
    expect(await desk.repository.latestTargets()).toEqual(before);
  });

  it('never changes a published version', async () => {
    await publish(bundle());
    const other = smallModel('gas', '1.0.0', { description: 'something else' });
    const path = writeSmallModel(join(desk.folder, 'other'), other);
    await expect(publish(path)).rejects.toEqual(refused('CONFLICT'));
  });

  it('raises the floor, which later publications keep', async () => {
    await publish(bundle());
    expect((await publish(bundle('gas', '1.1.0'), { floor: 2 })).floor).toBe(2);
    expect((await publish(bundle('gas', '1.2.0'))).floor).toBe(2);
    await expect(publish(bundle('gas', '1.3.0'), { floor: 9 })).rejects.toEqual(refused('REQUEST_INVALID'));
    const store = await enrolled();
    await desk.director.set(DEVICE, 'gas', orderOf('gas', '1.0.0'), null);
    expect((await device(store).refresh()).refused).toEqual([refused('BELOW_FLOOR')]);
  });

  it('takes an archive made by tar as well as a directory', async () => {
    const folder = bundle();
    const archive = join(desk.folder, 'model.skein');
    execFileSync('tar', ['--format=ustar', '-cf', archive, '-C', folder, '.']);
    const published = await publish(archive);
    expect(published.manifestSha256).toBe(smallModel().manifestSha256);
  });

  it('says how far the upload is', async () => {
    const seen: [number, number][] = [];
    const path = bundle();
    const options = { api: desk.api, dir, clock: desk.clock, verify: nativeVerify, path };
    const { sizeBytes } = await publishBundle({ ...options, progress: (...at) => seen.push(at) });
    expect(seen[0]).toEqual([0, sizeBytes]);
    expect(seen.at(-1)).toEqual([sizeBytes, sizeBytes]);
  });

  it('shows models with their sizes, and says which are revoked', async () => {
    await publish(bundle());
    const [model] = await desk.api.all('listModels');
    expect(model).toMatchObject({ name: 'gas', release: 1, revoked: false, devices: 0 });
    const shown = await desk.api.call('showModel', { params: { name: 'gas', version: '1.0.0' } });
    expect(shown.manifest).toEqual(smallModel().manifest);
    await expect(desk.api.call('showModel', { params: { name: 'gas', version: '9.9.9' } })).rejects.toEqual(
      refused('NOT_FOUND'),
    );
  });
});

describe('a bad bundle', () => {
  let path: string;
  beforeEach(async () => {
    await init();
    path = bundle();
  });
  const blobPath = () => join(path, 'blobs', [...smallModel().blobs.keys()][0]!);
  const archived = (...args: string[]) => {
    const archive = join(desk.folder, 'bad.skein');
    execFileSync('tar', ['--format=ustar', '-cf', archive, ...args]);
    return archive;
  };

  it('with a tampered blob', async () => {
    const bytes = readFileSync(blobPath());
    bytes[100]! ^= 1;
    writeFileSync(blobPath(), bytes);
    await expect(publish(path)).rejects.toEqual(refused('BLOB_MISMATCH'));
  });

  it('with a truncated or missing blob', async () => {
    truncateSync(blobPath(), 100);
    await expect(publish(path)).rejects.toEqual(refused('BUNDLE_TRUNCATED'));
    rmSync(blobPath());
    await expect(publish(path)).rejects.toEqual(refused('BUNDLE_INVALID'));
  });

  it('with a tampered manifest', async () => {
    const manifest = { ...smallModel().manifest, extra: true };
    writeFileSync(join(path, 'manifest.json'), JSON.stringify(manifest));
    await expect(publish(path)).rejects.toEqual(refused('MANIFEST_INVALID'));
  });

  it('with a link in place of a blob', async () => {
    rmSync(blobPath());
    symlinkSync('/etc/hostname', blobPath());
    await expect(publish(path)).rejects.toEqual(refused('BUNDLE_INVALID'));
    await expect(publish(archived('-C', path, '.'))).rejects.toEqual(refused('BUNDLE_INVALID'));
  });

  it('with a name that leads out of the folder', async () => {
    writeFileSync(join(desk.folder, 'outside'), 'x');
    const archive = archived('-P', '-C', path, 'manifest.json', '../outside');
    await expect(publish(archive)).rejects.toEqual(refused('BUNDLE_INVALID'));
  });

  it('cut anywhere', async () => {
    const archive = archived('-C', path, '.');
    const { size } = statSync(archive);
    // tar pads to 10 KiB at the end; what carries content is cut here.
    for (const length of [0, 511, 512, 1000, 5000, size >> 1]) {
      truncateSync(archive, Math.min(length, statSync(archive).size));
      await expect(publish(archive), `${length} bytes`).rejects.toThrow();
      archived('-C', path, '.');
    }
  });

  it('with a header that lies about its size', async () => {
    const archive = archived('-C', path, 'manifest.json');
    const bytes = readFileSync(archive);
    bytes.write('77777777777\0', 124, 'latin1');
    const sum = bytes.subarray(0, 512).reduce((total, b, i) => total + (i >= 148 && i < 156 ? 32 : b), 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    writeFileSync(archive, bytes);
    await expect(publish(archive)).rejects.toEqual(refused('BUNDLE_TRUNCATED'));
  });

  it('that is not there at all', async () => {
    await expect(publish(join(desk.folder, 'nowhere'))).rejects.toEqual(refused('BUNDLE_INVALID'));
  });
});

describe('an upload', () => {
  const put = (signed: object, names = ['targets']) =>
    desk.api.call('putTargets', { body: { targets: toBase64(signDocument(signed, names.map(signer))) } });
  const signer = (name: string) =>
    name === 'targets'
      ? listKeys(dir)
          .find((key) => key.role === 'targets')!
          .signer()
      : signerOf(name);
  const latest = async () => {
    const { targets } = await desk.api.call('getTargets');
    return JSON.parse(Buffer.from(fromBase64(targets)).toString()).signed;
  };

  beforeEach(async () => {
    await init();
    await publish(bundle());
  });

  it('signed by another key is refused', async () => {
    const signed = { ...(await latest()), version: 3 };
    await expect(put(signed, ['thief'])).rejects.toEqual(refused('SIGNATURE_INVALID'));
  });

  it('of a version that is not newer is a conflict', async () => {
    const signed = await latest();
    for (const version of [1, 2]) {
      await expect(put({ ...signed, version, x: version })).rejects.toEqual(refused('CONFLICT'));
    }
  });

  it('that names a manifest whose bytes are not there is refused', async () => {
    const signed = { ...(await latest()), version: 3 };
    const custom = { model: 'ghost', version: '1.0.0', release: 1, floor: 0, tags: [] };
    signed.targets['models/ghost/1.0.0/manifest.json'] = {
      length: 3,
      hashes: { sha256: hashOf('abc') },
      custom,
    };
    await expect(put(signed)).rejects.toEqual(refused('NOT_FOUND'));
  });

  it('that lists something other than models is refused', async () => {
    const signed = { ...(await latest()), version: 3 };
    signed.targets['../../etc/passwd'] = { length: 3, hashes: { sha256: hashOf('abc') } };
    await expect(put(signed)).rejects.toEqual(refused('METADATA_INVALID'));
  });

  it('that leaves a model out revokes it, and devices refuse it from then on', async () => {
    const store = await enrolled();
    await desk.director.set(DEVICE, 'gas', orderOf('gas', '1.0.0'), null);
    expect((await device(store).refresh()).orders).toHaveLength(1);
    await put({ ...(await latest()), version: 3, targets: {} });
    expect(await desk.api.all('listModels')).toMatchObject([{ name: 'gas', revoked: true }]);
    expect((await device(store).refresh()).refused).toEqual([refused('METADATA_DISAGREES')]);
  });

  it('of roots that the present ones do not vouch for is refused', async () => {
    const other = await openDesk();
    await initKeys({
      api: other.api,
      dir: join(other.folder, 'keys'),
      clock: other.clock,
      verify: nativeVerify,
    });
    const roots = await other.api.call('getRoots');
    await expect(desk.api.call('putRoots', { body: roots })).rejects.toEqual(refused('SIGNATURE_INVALID'));
    await other.close();
  });

  it('of roots that do not name this server’s online keys is refused', async () => {
    const [empty, other] = [await openDesk(), await openDesk()];
    await initKeys({
      api: other.api,
      dir: join(other.folder, 'keys'),
      clock: other.clock,
      verify: nativeVerify,
    });
    const roots = await other.api.call('getRoots');
    await expect(empty.api.call('putRoots', { body: roots })).rejects.toEqual(refused('KEYS_INVALID'));
    await Promise.all([empty.close(), other.close()]);
  });

  it('of the roots that are there already changes nothing', async () => {
    const roots = await desk.api.call('getRoots');
    await desk.api.call('putRoots', { body: roots });
    expect(await desk.repository.file('image', '2.root.json')).toBeUndefined();
  });
});
