/** A key is lost or stolen: each recovery of `skein keys recover`, walked with the real verifier of a device. */

import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { conclude } from '@skein/fleet-server/cli/ceremony.ts';
import { firstRoots } from '@skein/fleet-server/cli/first-roots.ts';
import { initKeys } from '@skein/fleet-server/cli/init-keys.ts';
import { listKeys } from '@skein/fleet-server/cli/key-files.ts';
import { readPins } from '@skein/fleet-server/cli/pins.ts';
import { fetchTrusted } from '@skein/fleet-server/cli/trusted.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { dateOf } from '@skein/protocol/trust/metadata.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEVICE, orderOf } from '../../protocol/trust/simulated-repository.ts';
import { type Desk, openDesk } from '../models/desk.ts';
import { type Device, People } from './people.ts';

let desk: Desk;
let people: People;
let device: Device;
const GAS = 'gas@1.0.0';
/** The last version there is: nothing can come after it. */
const END = Number.MAX_SAFE_INTEGER;

beforeEach(async () => {
  desk = await openDesk();
  people = new People(desk);
  await people.found();
  await people.release('1.0.0');
  await people.order('1.0.0');
  device = await people.device();
  expect(await device.sees()).toEqual([GAS]);
});
afterEach(() => desk.close());

const file = async (name: string) =>
  JSON.parse(Buffer.from((await desk.repository.file('image', name))!).toString());
const expires = () => dateOf(desk.time.now + 7 * DAY);
const head = (type: string, version: number) => ({
  _type: type,
  spec_version: '1.0.34',
  version,
  expires: expires(),
});
const named = (version: number, bytes: Uint8Array) => ({
  version,
  length: bytes.length,
  hashes: { sha256: sha256Hex(bytes) },
});
const keyOf = (holder: string, role: string): Signer =>
  listKeys(people.folder(holder))
    .find((key) => key.role === role)!
    .signer();

/** A thief answers every request for these files. */
function serve(files: Record<string, Uint8Array>) {
  device.served = (path) => files[path];
}
const honest = () => serve({});

describe('a root key of three', () => {
  it('lost: the other two name a new one, devices follow, and the new holder can sign', async () => {
    rmSync(people.folder('carol'), { recursive: true });
    const dave = await people.key('dave', 'root');
    await people.change(
      [{ kind: 'replace', role: 'root', old: ['carol'], keys: [{ publicKey: dave.public, name: 'dave' }] }],
      ['alice', 'bob'],
    );
    expect(await device.sees()).toEqual([GAS]);
    await people.change([{ kind: 'renew', role: 'root' }], ['dave', 'alice']);
    expect(await device.sees()).toEqual([GAS]);
    expect((await file('3.root.json')).signed.roles.root.keyids).toHaveLength(3);
  });

  it('stolen: alone it can sign nothing, and after the change it counts for nothing', async () => {
    const carol = keyOf('carol', 'root');
    const { signed } = await file('1.root.json');
    const forged = (version: number, by: Signer[]) => signDocument({ ...signed, version }, by);
    serve({ '/v1/image/2.root.json': forged(2, [carol]) });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
    honest();
    const dave = await people.key('dave', 'root');
    await people.change(
      [{ kind: 'replace', role: 'root', old: ['carol'], keys: [{ publicKey: dave.public }] }],
      ['alice', 'bob'],
    );
    expect(await device.sees()).toEqual([GAS]);
    // Even with a second holder's help the old key no longer makes two of three.
    serve({ '/v1/image/3.root.json': forged(3, [carol, keyOf('alice', 'root')]) });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
  });

  it('with a device that slept through three changes', async () => {
    for (const holder of ['dave', 'erin', 'fred']) {
      const { public: publicKey } = await people.key(holder, 'root');
      await people.change(
        [{ kind: 'add', role: 'root', keys: [{ publicKey, name: holder }] }],
        ['alice', 'bob'],
      );
    }
    await people.change([{ kind: 'remove', role: 'root', keys: ['carol'] }], ['alice', 'bob']);
    expect(await device.sees()).toEqual([GAS]);
    expect((await file('5.root.json')).signed.roles.root.keyids).toHaveLength(5);
  });
});

describe('the root threshold', () => {
  it('lost with everything else: devices refuse the new roots until they enrol again, and keep what they run', async () => {
    for (const holder of ['bob', 'carol']) rmSync(people.folder(holder), { recursive: true });
    const dir = join(desk.folder, 'new-keys');
    // The publisher's key is still there in truth; a new folder is the worst case, where everything is new.
    await initKeys({ api: desk.api, dir, clock: desk.clock, verify: nativeVerify, replace: true });
    expect(await device.sees()).toEqual(['METADATA_ROLLBACK']);
    const roots = (await desk.repository.latestRoots())!;
    device.store.pin(roots.image, roots.director);
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
    const again = new People(desk);
    expect(await again.device().then((fresh) => fresh.sees())).toEqual(['METADATA_DISAGREES']);
  });

  it('lost, with the publisher’s key still there: devices update on as before until they are enrolled again', async () => {
    const keys = [await people.key('dave', 'root'), await people.key('dave', 'director-root')];
    keys.push(people.publicKey('pat', 'targets'));
    const online = await desk.api.call('onlineKeys');
    const { targets } = readPins(people.folder('operator'));
    const parts = firstRoots({ keys, threshold: 1, online, now: desk.time.now, targets });
    const draft = people.file();
    await conclude(people.machine('operator'), desk.api, parts, draft, true);
    await expect(people.carry(draft, 'pat')).rejects.toMatchObject({ code: 'SERVER_NOT_TRUSTED' });
    await people.replaceRoots(draft, 'dave', 'pat');
    expect(await device.sees()).toEqual([GAS]);
    await people.release('1.1.0');
    await people.order('1.1.0');
    expect(await device.sees()).toEqual(['gas@1.1.0']);
    const roots = (await desk.repository.latestRoots())!;
    device.store.pin(roots.image, roots.director);
    expect(await device.sees()).toEqual(['gas@1.1.0']);
  });

  it('stolen: whoever has it owns the devices until they enrol again, which forgets all the thief taught them', async () => {
    const { signed } = await file('1.root.json');
    const thieves = [keyOf('alice', 'root'), keyOf('bob', 'root')];
    serve({ '/v1/image/2.root.json': signDocument({ ...signed, version: 2, x: 'theirs' }, thieves) });
    expect(await device.sees()).toEqual([GAS]);
    honest();
    const dir = join(desk.folder, 'new-keys');
    await initKeys({ api: desk.api, dir, clock: desk.clock, verify: nativeVerify, replace: true });
    const roots = (await desk.repository.latestRoots())!;
    device.store.pin(roots.image, roots.director);
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
    serve({ '/v1/image/2.root.json': signDocument({ ...signed, version: 2, x: 'theirs' }, thieves) });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
  });

  it('begins anew only in a folder of its own, by an administrator', async () => {
    const dir = join(desk.folder, 'new-keys');
    const given = { api: desk.api, dir, clock: desk.clock, verify: nativeVerify };
    await expect(initKeys(given)).rejects.toMatchObject({ code: 'CONFLICT' });
    await initKeys({ ...given, replace: true });
    await expect(initKeys({ ...given, replace: true })).rejects.toMatchObject({ code: 'CONFLICT' });
  });
});

describe('the publisher’s key', () => {
  const replaced = async (holder: string) => {
    const { public: publicKey } = await people.key(holder, 'targets');
    return {
      kind: 'replace' as const,
      role: 'targets' as const,
      old: undefined,
      keys: [{ publicKey, name: holder }],
    };
  };

  it('lost: a new one is named and signs the same models, in one step for devices', async () => {
    rmSync(people.folder('pat'), { recursive: true });
    await people.change([await replaced('quinn')], ['alice', 'bob', 'quinn']);
    expect(await device.sees()).toEqual([GAS]);
    await people.release('1.1.0', undefined, 'quinn');
    await people.order('1.1.0');
    expect(await device.sees()).toEqual(['gas@1.1.0']);
  });

  it('changed on another machine: the operator follows, although the list seen last is of the old key', async () => {
    const elsewhere = people.folder('other-operator');
    cpSync(people.folder('operator'), elsewhere, { recursive: true });
    await people.change([await replaced('quinn')], ['alice', 'bob', 'quinn']);
    const given = { api: desk.api, dir: elsewhere, verify: nativeVerify };
    const { targets } = await fetchTrusted(given);
    expect(Object.keys(targets.targets)).toEqual([manifestPath('gas', '1.0.0')]);
  });

  it('lost: a root without the newly signed list is refused, for it would stop every installation', async () => {
    const quinn = await replaced('quinn');
    const draft = await people.prepare([quinn]);
    const signed = await people.carry(draft, 'alice', 'bob', 'quinn');
    const both = JSON.parse((await import('node:fs')).readFileSync(signed, 'utf8'));
    const [root] = both.documents as [{ signed: object; signatures: object[] }];
    const { director } = await desk.api.call('getRoots');
    const image = Buffer.from(JSON.stringify({ signed: root.signed, signatures: root.signatures })).toString(
      'base64',
    );
    await expect(desk.api.call('putRoots', { body: { image, director } })).rejects.toMatchObject({
      code: 'CONFLICT',
      fix: expect.stringContaining('skein keys rotate --role targets'),
    });
    expect(await device.sees()).toEqual([GAS]);
  });

  it('stolen together with the server: what the thief approved is gone, versions and floors driven to their end too', async () => {
    const path = manifestPath('gas', '6.6.6');
    const custom = { model: 'gas', version: '6.6.6', release: END, floor: END, tags: [] };
    const evil = { length: 4, hashes: { sha256: sha256Hex(Buffer.from('evil')) }, custom };
    const [snapshot] = desk.online.held('snapshot');
    const [timestamp] = desk.online.held('timestamp');
    const targets = signDocument({ ...head('targets', END), targets: { [path]: evil } }, [
      keyOf('pat', 'targets'),
    ]);
    const meta = { 'targets.json': named(END, targets) };
    const snap = signDocument({ ...head('snapshot', END), meta }, [snapshot!]);
    const stamp = signDocument({ ...head('timestamp', END), meta: { 'snapshot.json': named(END, snap) } }, [
      timestamp!,
    ]);
    serve({
      '/v1/image/timestamp.json': stamp,
      [`/v1/image/${END}.snapshot.json`]: snap,
      [`/v1/image/${END}.targets.json`]: targets,
    });
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
    expect(device.store.state).toMatchObject({
      releaseFloors: { gas: END },
      image: { floors: { timestamp: END } },
    });
    honest();
    expect(await device.sees()).toEqual(['METADATA_ROLLBACK']);
    await people.change(
      [...(await people.staged('snapshot', 'timestamp')), await replaced('quinn')],
      ['alice', 'bob', 'quinn'],
      true,
    );
    expect(await device.sees()).toEqual([GAS]);
    expect(device.store.state!.releaseFloors).toEqual({ gas: 0 });
    // The thief's list is worth nothing now, on a device that restarts as well.
    serve({ '/v1/image/timestamp.json': stamp });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
    honest();
    await people.release('1.1.0', 2, 'quinn');
    expect(await device.sees()).toEqual(['BELOW_FLOOR']);
  });

  it('stolen and used against the server itself: the recovery does not begin from the thief’s list', async () => {
    const stolen = keyOf('pat', 'targets');
    const targets = signDocument({ ...head('targets', END), targets: {} }, [stolen]);
    await desk.api.call('putTargets', { body: { targets: Buffer.from(targets).toString('base64') } });
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
    await people.change(
      [...(await people.staged('snapshot', 'timestamp')), await replaced('quinn')],
      ['alice', 'bob', 'quinn'],
      true,
    );
    expect(await device.sees()).toEqual([GAS]);
    await people.release('1.1.0', undefined, 'quinn');
  });
});

describe('an online key', () => {
  it.each(['timestamp', 'snapshot'] as const)(
    '%s lost: the server’s new one is named, and it signs again',
    async (role) => {
      rmSync(join(desk.folder, 'online', `${role}.key`));
      desk.reopenOnlineKeys();
      desk.time.now += 8 * DAY;
      expect(await device.sees()).toEqual(['METADATA_EXPIRED']);
      await people.change(await people.staged(role), ['alice', 'bob']);
      expect(await device.sees()).toEqual([GAS]);
    },
  );

  it('timestamp and snapshot stolen: versions at their end are forgotten with the keys (fast-forward recovery)', async () => {
    const [snapshot, timestamp] = [desk.online.held('snapshot')[0]!, desk.online.held('timestamp')[0]!];
    const { meta } = (await file(`${await desk.repository.snapshotVersion()}.snapshot.json`)).signed;
    const snap = signDocument({ ...head('snapshot', END), meta }, [snapshot]);
    const stamp = signDocument({ ...head('timestamp', END), meta: { 'snapshot.json': named(END, snap) } }, [
      timestamp,
    ]);
    serve({ '/v1/image/timestamp.json': stamp, [`/v1/image/${END}.snapshot.json`]: snap });
    expect(await device.sees()).toEqual([GAS]);
    honest();
    expect(await device.sees()).toEqual(['METADATA_ROLLBACK']);
    await people.change(await people.staged('snapshot', 'timestamp'), ['alice', 'bob']);
    expect(await device.sees()).toEqual([GAS]);
    serve({ '/v1/image/timestamp.json': stamp });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
    expect(desk.online.held('timestamp')).toHaveLength(1);
  });

  it('director stolen: its orders and versions count for nothing once the director’s root names another', async () => {
    const thief = desk.online.held('director')[0]!;
    const orders = {
      device: DEVICE,
      imageSnapshotVersion: 1,
      ackKeys: ['ab'.repeat(32)],
      orders: [orderOf('gas', '1.0.0')],
    };
    const forged = signDocument(
      directorSigned({ version: END, expiresAt: desk.time.now + 7 * DAY, orders, targets: {} }),
      [thief],
    );
    serve({ '/v1/director/targets.json': forged });
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
    honest();
    expect(await device.sees()).toEqual(['METADATA_ROLLBACK']);
    await people.change(await people.staged('director', 'ack'), ['alice', 'carol']);
    expect(await device.sees()).toEqual([GAS]);
    expect(device.client().view()!.ackKeys).not.toContain('ab'.repeat(32));
    serve({ '/v1/director/targets.json': forged });
    expect(await device.sees()).toEqual(['SIGNATURE_INVALID']);
  });

  it('director lost: named anew, devices get their orders again', async () => {
    rmSync(join(desk.folder, 'online', 'director.key'));
    desk.reopenOnlineKeys();
    await expect(desk.director.document(DEVICE)).rejects.toMatchObject({ code: 'KEYS_INVALID' });
    await people.change(await people.staged('director'), ['bob', 'carol']);
    expect(await device.sees()).toEqual([GAS]);
  });

  it('all of them stolen with the server: one change of both roots ends it', async () => {
    await people.change(await people.staged('timestamp', 'snapshot', 'director', 'ack'), ['alice', 'bob']);
    expect(await device.sees()).toEqual([GAS]);
    expect((await desk.api.call('trust')).warnings).toEqual([]);
  });

  it('staged by a root that was stored before a crash takes over at the next start', async () => {
    const changes = await people.staged('timestamp');
    const ring = desk.online;
    const keepOnly = ring.keepOnly;
    ring.keepOnly = () => {
      throw new Error('the power went out');
    };
    await expect(people.change(changes, ['alice', 'bob'])).rejects.toThrow('the power went out');
    ring.keepOnly = keepOnly;
    desk.reopenOnlineKeys();
    expect(await device.sees()).toEqual([GAS]);
    await desk.repository.settle();
    expect(ring.held('timestamp')).toHaveLength(1);
    expect(await device.sees()).toEqual([GAS]);
  });
});

describe('the director’s root', () => {
  it('a key of three lost: the other two name a new one', async () => {
    rmSync(people.folder('alice'), { recursive: true });
    const { public: publicKey } = await people.key('dave', 'director-root');
    await people.change(
      [{ kind: 'replace', role: 'director-root', old: ['alice'], keys: [{ publicKey, name: 'dave' }] }],
      ['bob', 'carol'],
    );
    await people.change(await people.staged('director'), ['dave', 'bob']);
    expect(await device.sees()).toEqual([GAS]);
  });

  it('its threshold stolen: orders can be forged, models can not; enrolling again ends it', async () => {
    const thieves = [keyOf('alice', 'director-root'), keyOf('bob', 'director-root')];
    const roots = (await desk.repository.latestRoots())!;
    const { signed } = JSON.parse(Buffer.from(roots.director).toString());
    serve({ '/v1/director/2.root.json': signDocument({ ...signed, version: 2, x: 'theirs' }, thieves) });
    expect(await device.sees()).toEqual([GAS]);
    honest();
    const dir = join(desk.folder, 'new-keys');
    await initKeys({ api: desk.api, dir, clock: desk.clock, verify: nativeVerify, replace: true });
    const fresh = (await desk.repository.latestRoots())!;
    device.store.pin(fresh.image, fresh.director);
    expect(await device.sees()).toEqual(['METADATA_DISAGREES']);
  });
});
