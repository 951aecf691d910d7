/** Root ceremonies with keys on different machines, and everything that can be wrong with a file or a name. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { conclude, readDrafts, signDraft, writeDraft } from '@skein/fleet-server/cli/ceremony.ts';
import { firstRoots } from '@skein/fleet-server/cli/first-roots.ts';
import { openKeyFolder, protectKey } from '@skein/fleet-server/cli/key-files.ts';
import { readPublicKey } from '@skein/fleet-server/cli/public-keys.ts';
import { progressOf } from '@skein/fleet-server/keys/draft-signing.ts';
import { describeDraft } from '@skein/fleet-server/keys/review.ts';
import { requireName } from '@skein/fleet-server/keys/roles.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Desk, openDesk } from '../models/desk.ts';
import { People, reader } from './people.ts';

let desk: Desk;
let people: People;
beforeEach(async () => {
  desk = await openDesk();
  people = new People(desk);
});
afterEach(() => desk.close());

const refused = (code: string) => expect.objectContaining({ code, fix: expect.any(String) });
const add = async (holder: string, threshold?: number) => {
  const { public: publicKey } = await people.key(holder, 'root');
  return { kind: 'add' as const, role: 'root' as const, keys: [{ publicKey, name: holder }], threshold };
};
/** The file as somebody else changed it. */
function edit(
  file: string,
  change: (
    draft: Record<string, unknown> & {
      documents: { signed: never; signatures: { keyid: string; sig: string }[] }[];
    },
  ) => void,
): string {
  const draft = JSON.parse(readFileSync(file, 'utf8'));
  change(draft);
  const other = `${file}.edited`;
  writeFileSync(other, JSON.stringify(draft));
  return other;
}

/** A passphrase is turned into a key slowly on purpose, several times here. */
const SLOW_ON_PURPOSE_MS = 90_000;

describe('a ceremony', () => {
  it('makes the first roots of keys that never met, and a device trusts what comes of it', async () => {
    await people.found();
    await people.release('1.0.0');
    await people.order('1.0.0');
    expect(await (await people.device()).sees()).toEqual(['gas@1.0.0']);
    expect(openKeyFolder(people.folder('operator')).find()).toEqual([]);
  });

  it('lets holders sign one after the other or apart, in any order', async () => {
    await people.found();
    const file = await people.prepare([await add('dave')]);
    const [first, second] = [await people.carry(file, 'carol'), await people.carry(file, 'alice')];
    await people.publish(second, first);
    expect((await desk.api.call('trust')).documents[0]).toMatchObject({ role: 'root', version: 2 });
  });

  it('publishes nothing below the threshold and says who is missing', async () => {
    await people.found();
    const file = await people.carry(await people.prepare([await add('dave')]), 'alice');
    await expect(people.publish(file)).rejects.toMatchObject({
      code: 'THRESHOLD_UNMET',
      message: expect.stringContaining('1 of 2 of the keys before'),
      fix: expect.stringContaining('skein keys sign'),
    });
    const progress = progressOf(readDrafts([file], reader), reader);
    expect(progress.map(({ have, need, open }) => [have, need, open.length])).toEqual([
      [1, 2, 2],
      [1, 2, 3],
    ]);
  });

  it('shows a holder what would change before anything is signed', async () => {
    await people.found();
    const file = await people.prepare([await add('dave', 3)]);
    const lines = describeDraft(readDrafts([file], reader));
    expect(lines[0]).toMatch(/^image-root version 1 → 2, until 2028-01-01$/);
    expect(lines[1]).toBe('  root: 3 of 4 must sign (before: 2)');
    expect(lines[2]).toMatch(/^ {2}\+ root [0-9a-f]{64} \(dave\)$/);
    expect(lines.at(-1)).toMatch(/^ {2}fingerprint [0-9a-f]{64}$/);
  });

  it('shows what is published and what is revoked', async () => {
    await people.found();
    await people.release('1.0.0');
    await people.release('1.1.0', 2);
    const file = people.file();
    const { revokeModel } = await import('@skein/fleet-server/cli/publish-bundle.ts');
    await revokeModel({
      api: desk.api,
      dir: people.folder('operator'),
      clock: desk.clock,
      verify: nativeVerify,
      out: file,
      onlyPrepare: true,
      model: 'gas',
      version: '1.0.0',
      reason: 'wrong labels',
    });
    expect(describeDraft(readDrafts([file], reader)).slice(1, -1)).toEqual(['  - gas@1.0.0 revoked']);
  });

  it('signs at once and publishes when the keys of one folder suffice', async () => {
    await people.found();
    for (const role of ['root', 'director-root'] as const)
      await people.machine('solo').token.generate(role, 'x', undefined);
    const { prepareRoots } = await import('@skein/fleet-server/cli/change-roots.ts');
    const given = {
      api: desk.api,
      dir: people.folder('operator'),
      verify: nativeVerify,
      clock: desk.clock,
      purpose: 'x',
    };
    const parts = await prepareRoots(given, [{ kind: 'renew', role: 'root' }]);
    const outcome = await conclude(people.machine('solo'), desk.api, parts, people.file());
    expect(outcome).toMatchObject({ published: false, signedBy: [] });
  });
});

describe('a draft', () => {
  let file: string;
  beforeEach(async () => {
    await people.found();
    file = await people.prepare([await add('dave')]);
  });
  const sign = (path: string, holder = 'alice') =>
    signDraft(people.machine(holder), readDrafts([path], reader));

  it('that somebody changed after a signature is refused', async () => {
    const signed = await people.carry(file, 'alice');
    const other = edit(signed, (draft) => {
      (draft.documents[0]!.signed as { expires: string }).expires = '2099-01-01T00:00:00Z';
    });
    expect(() => readDrafts([other], reader)).toThrow(refused('SIGNATURE_INVALID'));
  });

  it('with a signature of a foreign key is refused, whatever id it claims', async () => {
    const foreign = await people.key('mallory', 'root');
    const { token, ask } = people.machine('mallory');
    const [document] = readDrafts([file], reader).documents;
    const sig = Buffer.from(await token.sign(token.find()[0]!, document!.canonical, ask)).toString('hex');
    const roles = (draft: { documents: { signed: never }[] }) =>
      (draft.documents[0]!.signed as { roles: { root: { keyids: string[] } } }).roles.root.keyids;
    for (const keyid of [foreign.public, roles(JSON.parse(readFileSync(file, 'utf8')))[0]!]) {
      const other = edit(file, (draft) => void draft.documents[0]!.signatures.push({ keyid, sig }));
      expect(() => readDrafts([other], reader)).toThrow(refused('SIGNATURE_INVALID'));
    }
    await expect(sign(file, 'mallory')).rejects.toEqual(refused('KEYS_INVALID'));
  });

  it('with a threshold of 0, or beyond its keys, is refused', () => {
    for (const threshold of [0, 5, -1]) {
      const other = edit(file, (draft) => {
        (draft.documents[0]!.signed as { roles: { root: { threshold: number } } }).roles.root.threshold =
          threshold;
      });
      expect(() => readDrafts([other], reader)).toThrow(refused('THRESHOLD_INVALID'));
    }
  });

  it('with one key under two ids is refused', () => {
    const other = edit(file, (draft) => {
      const signed = draft.documents[0]!.signed as {
        keys: Record<string, { keyval: { public: string } }>;
        roles: { root: { keyids: string[] } };
      };
      const [id] = signed.roles.root.keyids;
      signed.keys['ab'.repeat(32)] = signed.keys[id!]!;
      signed.roles.root.keyids.push('ab'.repeat(32));
    });
    expect(() => readDrafts([other], reader)).toThrow(refused('KEY_DUPLICATE'));
  });

  it('of a version that goes back, or jumps, is refused', () => {
    for (const version of [1, 3]) {
      const other = edit(file, (draft) => {
        (draft.documents[0]!.signed as { version: number }).version = version;
      });
      expect(() => readDrafts([other], reader)).toThrow(refused('METADATA_ROLLBACK'));
    }
  });

  it('that was overtaken by another is refused by a machine that signed the other', async () => {
    await sign(file, 'alice');
    await people.change([await add('erin')], ['alice', 'bob']);
    const next = await people.prepare([await add('fred')]);
    await sign(next, 'alice');
    await expect(sign(file, 'alice')).rejects.toEqual(refused('METADATA_ROLLBACK'));
    await expect(people.publish(await people.carry(file, 'carol', 'bob'))).rejects.toMatchObject({
      code: expect.stringMatching(/METADATA_ROLLBACK|SIGNATURE_INVALID/),
    });
  });

  it('that shows its changes against an old list is refused by a publisher who has seen a newer one', async () => {
    await people.release('1.0.0');
    const old = await people.prepare([{ kind: 'renew', role: 'targets' }]);
    for (const version of ['1.1.0', '1.2.0']) await people.release(version);
    // As if it had been prepared for a later version, so that only the list it goes from is old.
    const other = edit(old, (draft) => {
      (draft.documents[0]!.signed as { version: number }).version = 9;
    });
    await expect(sign(other, 'pat')).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });

  it('of another fleet is refused by a machine that pinned this one', async () => {
    await sign(file, 'alice');
    const elsewhere = await openDesk();
    const others = new People(elsewhere);
    await others.found();
    const { public: publicKey } = await others.key('dave', 'root');
    const foreign = await others.prepare([{ kind: 'add', role: 'root', keys: [{ publicKey }] }]);
    await expect(sign(foreign, 'alice')).rejects.toEqual(refused('SERVER_NOT_TRUSTED'));
    await elsewhere.close();
  });

  it('can not play with the terminal of whoever reads it', () => {
    const other = edit(file, (draft) => {
      const signed = draft.documents[0]!.signed as { 'x-skein-holders': Record<string, string> };
      for (const id of Object.keys(signed['x-skein-holders']))
        signed['x-skein-holders'][id] = '\u001b[2Jdave\u202e';
    });
    const lines = describeDraft(readDrafts([other], reader)).join('\n');
    expect(lines).not.toMatch(/dave/);
    expect(lines.replaceAll('\n', '')).not.toMatch(/\p{C}/u);
  });

  it('is merged only with copies of itself', async () => {
    const other = await people.prepare([{ kind: 'renew', role: 'director-root' }]);
    expect(() => readDrafts([file, other], reader)).toThrow(refused('CONFLICT'));
  });

  it('that is enough signed asks to be published, and counts no holder twice', async () => {
    const signed = await people.carry(file, 'alice', 'bob');
    await expect(sign(signed, 'alice')).rejects.toMatchObject({
      code: 'CONFLICT',
      fix: expect.stringContaining('publish'),
    });
    const twice = edit(
      signed,
      (draft) => void draft.documents[0]!.signatures.push(draft.documents[0]!.signatures[0]!),
    );
    expect(() => readDrafts([twice], reader)).toThrow(expect.objectContaining({ code: 'METADATA_INVALID' }));
  });

  it('that is cut, huge, deep or no draft at all ends in an error and nothing else', () => {
    const whole = readFileSync(file);
    const path = `${file}.bad`;
    const bad = [
      whole.subarray(0, whole.length >> 1),
      Buffer.alloc(0),
      Buffer.from('null'),
      Buffer.from('{"format":2}'),
      Buffer.from(`${'['.repeat(200_000)}${']'.repeat(200_000)}`),
      Buffer.alloc(25 * 1024 * 1024, 0x20),
    ];
    for (const bytes of bad) {
      writeFileSync(path, bytes);
      expect(() => readDrafts([path], reader)).toThrow(expect.objectContaining({ code: 'METADATA_INVALID' }));
    }
    expect(() => readDrafts([join(desk.folder, 'nowhere')], reader)).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND' }),
    );
  });

  it('with any byte changed is refused, or says the same', () => {
    const whole = readFileSync(file);
    const path = `${file}.flipped`;
    const { documents } = readDrafts([file], reader);
    let refusedOnes = 0;
    // A prime step meets every kind of place.
    for (let at = 0; at < whole.length; at += 127) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1;
      writeFileSync(path, bytes);
      try {
        const read = readDrafts([path], reader);
        const same = read.documents.every(
          (d, i) => Buffer.compare(d.canonical, documents[i]!.canonical) === 0,
        );
        if (!same) expect(read.documents.every((d) => d.signatures.length === 0)).toBe(true);
      } catch (thrown) {
        refusedOnes++;
        expect(thrown).toMatchObject({ code: expect.stringMatching(/^[A-Z_]+$/) });
        expect((thrown as { code: string }).code).not.toBe('INTERNAL');
      }
    }
    expect(refusedOnes).toBeGreaterThan(20);
  });
});

describe('keys that are to be named', () => {
  const first = (keys: Parameters<typeof firstRoots>[0]['keys'], threshold?: number) =>
    desk.api.call('onlineKeys').then((online) => firstRoots({ keys, threshold, online, now: desk.time.now }));

  it('twice in one role are refused, also under another name', async () => {
    await people.found();
    const alice = people.publicKey('alice', 'root');
    const again = {
      kind: 'add' as const,
      role: 'root' as const,
      keys: [{ publicKey: alice.public, name: 'eve' }],
    };
    await expect(people.prepare([again])).rejects.toEqual(refused('KEY_DUPLICATE'));
    const keys = [
      alice,
      { ...alice, name: 'eve' },
      people.publicKey('alice', 'director-root'),
      people.publicKey('pat', 'targets'),
    ];
    await expect(first(keys)).rejects.toEqual(refused('KEY_DUPLICATE'));
  });

  it('with a threshold of 0 or beyond their number are refused', async () => {
    const keys = [
      await people.key('alice', 'root'),
      await people.key('alice', 'director-root'),
      await people.key('pat', 'targets'),
    ];
    await expect(first(keys, 0)).rejects.toEqual(refused('THRESHOLD_INVALID'));
    await expect(first(keys, 2)).rejects.toEqual(refused('THRESHOLD_INVALID'));
    await expect(first(keys.slice(1))).rejects.toEqual(refused('KEYS_INVALID'));
    await expect(first(keys, 1)).resolves.toBeDefined();
  });

  it('fewer than the threshold after a removal are refused', async () => {
    await people.found();
    const gone = { kind: 'remove' as const, role: 'root' as const, keys: ['alice', 'bob'] };
    await expect(people.prepare([gone])).rejects.toEqual(refused('THRESHOLD_INVALID'));
    await expect(people.prepare([{ ...gone, keys: ['zoe'] }])).rejects.toEqual(refused('NOT_FOUND'));
  });

  it.each([
    ['a letter of another script', 'аlice'],
    ['text that turns around', 'al\u202eecil'],
    ['an invisible space', 'ali\u200bce'],
    ['an accent beside its letter', 'ali\u0301ce'],
    ['capitals', 'Alice'],
    ['a path', '../alice'],
    ['nothing', ''],
    ['33 letters', 'a'.repeat(33)],
    ['a line break', 'alice\n'],
    ['fullwidth letters', 'ａlice'],
  ])('by %s are refused', (_what, name) => {
    expect(() => requireName(name)).toThrow(refused('NAME_INVALID'));
    try {
      requireName(name);
    } catch (thrown) {
      expect((thrown as Error).message).toMatch(/^[\x20-\x7e“”]*$/);
    }
  });

  it('must have signed their own public file', async () => {
    const key = await people.key('alice', 'root');
    const path = join(desk.folder, 'changed.pub.json');
    const other = await people.key('bob', 'root');
    for (const changed of [
      { ...key, public: other.public },
      { ...key, name: 'bob' },
      { ...key, role: 'targets' },
    ]) {
      writeFileSync(path, JSON.stringify(changed));
      expect(() => readPublicKey(path, nativeVerify)).toThrow(refused('KEYS_INVALID'));
    }
  });
});

describe('key files', () => {
  it('that are damaged are told from a wrong passphrase', { timeout: SLOW_ON_PURPOSE_MS }, async () => {
    const { dir, token } = people.machine('alice');
    const key = await token.generate('root', 'alice', 'correct horse');
    const path = join(dir, key.name);
    const whole = readFileSync(path, 'utf8');
    const file = JSON.parse(whole);
    const box = file.sealed.box as string;
    const flipped = `${box[0] === '0' ? '1' : '0'}${box.slice(1)}`;
    for (const text of [
      JSON.stringify({ ...file, sealed: { ...file.sealed, box: flipped } }),
      JSON.stringify({ ...file, role: 'targets' }),
      whole.slice(0, 100),
      '',
      JSON.stringify({ ...file, sealed: { ...file.sealed, n: 2 ** 30 } }),
    ]) {
      writeFileSync(path, text);
      expect(() => openKeyFolder(dir).find()).toThrow(refused('KEYS_INVALID'));
    }
    writeFileSync(path, whole);
    const sign = (pin: string) => openKeyFolder(dir).sign(key, new Uint8Array(1), async () => pin);
    await expect(sign('wrong')).rejects.toEqual(refused('PASSPHRASE_WRONG'));
    await expect(sign('correct horse')).resolves.toHaveLength(64);
  });

  it('take another passphrase, and only from who knows the one before', async () => {
    const { dir, token } = people.machine('alice');
    const key = await token.generate('root', 'alice', undefined);
    protectKey(dir, key.name, undefined, 'first');
    expect(() => protectKey(dir, key.name, 'wrong', 'second')).toThrow(refused('PASSPHRASE_WRONG'));
    expect(() => protectKey(dir, '../root-alice.json', undefined, 'x')).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND' }),
    );
    protectKey(dir, key.name, 'first', 'second');
    const sign = (pin: string) => openKeyFolder(dir).sign(key, new Uint8Array(1), async () => pin);
    await expect(sign('second')).resolves.toHaveLength(64);
  });

  it('of before there were checksums still open', async () => {
    const { dir, token } = people.machine('alice');
    const key = await token.generate('root', '1', undefined);
    const path = join(dir, key.name);
    const { sum: _, ...old } = JSON.parse(readFileSync(path, 'utf8'));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, JSON.stringify(old));
    await expect(
      openKeyFolder(dir).sign(key, new Uint8Array(1), async () => undefined),
    ).resolves.toHaveLength(64);
  });
});

it('writes drafts that read back as they were', async () => {
  await people.found();
  const file = await people.carry(await people.prepare([await add('dave')]), 'bob');
  const draft = readDrafts([file], reader);
  writeDraft(`${file}.copy`, draft);
  expect(readDrafts([`${file}.copy`], reader)).toEqual(draft);
});
