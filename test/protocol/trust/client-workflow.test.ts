/** The workflow as a whole, over a mirror in memory: what is asked for, what is kept, what stored documents may do. */
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { nodeKeys } from '@skein/agent/node-keys.ts';
import { canonicalJson } from '@skein/protocol/trust/canonical-json.ts';
import {
  findTarget,
  mergeDocuments,
  type Refresh,
  runRefresh,
  startRefresh,
} from '@skein/protocol/trust/client-workflow.ts';
import type { TufKey } from '@skein/protocol/trust/metadata.ts';
import { keyIdOfKey } from '@skein/protocol/trust/signatures.ts';
import { tufKey } from '@skein/protocol/trust/signing.ts';
import { type ImageFloors, NO_FLOORS } from '@skein/protocol/trust/trusted-set.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { hex, keysOf, roleOf, SimulatedTuf, START, sha256, signerOf } from './simulated-repository.ts';

let repo: SimulatedTuf;
let asked: string[];
/** What a client stores between its refreshes. */
let stored: { root: Uint8Array; floors: ImageFloors; documents: Map<string, Uint8Array> };

const mirror = {
  async document(file: string): Promise<Uint8Array | undefined> {
    asked.push(file);
    return repo.files[file];
  },
};
const refused = (code: string) => expect.objectContaining({ code });
const pinned = () => repo.files['1.root.json']!;

function begin(now = START): Refresh {
  return startRefresh(nodeKeys, { last: stored.root, pinned: pinned(), floors: stored.floors }, now);
}
function keep(refresh: Refresh): void {
  stored = {
    root: refresh.root,
    floors: refresh.set.floors,
    documents: mergeDocuments(stored.documents, refresh),
  };
}
/** One refresh whose outcome is kept whether it fails or not; then a search. */
async function once(path?: string, now = START) {
  asked = [];
  const refresh = begin(now);
  try {
    await runRefresh(mirror, refresh, stored.documents);
    return path === undefined ? undefined : await findTarget(mirror, refresh, stored.documents, path);
  } finally {
    keep(refresh);
  }
}

beforeEach(() => {
  repo = new SimulatedTuf('image');
  repo.publish();
  stored = { root: pinned(), floors: NO_FLOORS, documents: new Map() };
});

describe('a refresh', () => {
  it('asks for each document once, and again only for what may have changed', async () => {
    await once();
    expect(asked).toEqual(['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json']);
    await once();
    expect(asked).toEqual(['2.root.json', 'timestamp.json']);
  });

  it('names documents without versions when snapshots are not consistent (5.3.12)', async () => {
    repo.tamper.root = (signed) => delete signed.consistent_snapshot;
    repo.publishRoot();
    repo.files['snapshot.json'] = repo.files['1.snapshot.json']!;
    repo.files['targets.json'] = repo.files['1.targets.json']!;
    await once();
    expect(asked).toEqual(['2.root.json', '3.root.json', 'timestamp.json', 'snapshot.json', 'targets.json']);
  });

  it('offers itself to be persisted after each step that trusts more', async () => {
    repo.rotate('targets');
    repo.publish();
    const seen: string[] = [];
    const refresh = begin();
    await runRefresh(mirror, refresh, new Map(), () =>
      seen.push(`${refresh.set.root.version} ${[...refresh.documents.keys()]}`),
    );
    expect(seen).toEqual(['2 ', '2 timestamp', '2 timestamp,snapshot', '2 timestamp,snapshot,targets']);
  });

  it('holds the length that is named above a mirror’s, within its own bound', async () => {
    const limits: Record<string, number> = {};
    repo.tamper.snapshot = (signed) =>
      Object.assign(signed, { meta: { 'targets.json': { version: 2, length: 2 ** 40 } } });
    repo.publish();
    const bounded = {
      async document(file: string, maxBytes: number) {
        limits[file] = maxBytes;
        return repo.files[file];
      },
    };
    await expect(runRefresh(bounded, begin(), new Map())).rejects.toEqual(refused('METADATA_DISAGREES'));
    expect(limits['2.snapshot.json']).toBe(repo.files['2.snapshot.json']!.length);
    expect(limits['2.targets.json']).toBe(6144 * 1024);
  });

  it('walks no more roots than its bound, and goes on the next time', async () => {
    for (let version = 2; version <= 1030; version++) repo.publishRoot();
    repo.publish();
    await once();
    expect(stored.floors.root).toBe(1025);
    await once();
    expect(stored.floors.root).toBe(1030);
  }, 60_000);
});

describe('keys withdrawn by a new root (5.3.11)', () => {
  it('void the stored timestamp also when it was another role’s key that went', async () => {
    repo.versions.timestamp = 1_000_000;
    repo.publish();
    await once();
    repo.versions.timestamp = 1;
    repo.rotate('snapshot');
    repo.publish();
    await once();
    expect(stored.floors.timestamp).toBe(2);
  });

  it('void it for good, if the refresh that learns of it is cut off', async () => {
    repo.versions.timestamp = 1_000_000;
    repo.publish();
    await once();
    repo.versions.timestamp = 1;
    repo.rotate('snapshot');
    const { 'timestamp.json': gone, ...rest } = repo.files;
    repo.files = rest;
    await expect(once()).rejects.toEqual(refused('METADATA_INVALID'));
    expect([...stored.documents.keys()]).toEqual(['targets']);
    expect(gone).toBeDefined();
    repo.publish();
    await once();
    expect(stored.floors.timestamp).toBe(2);
  });

  it('void nothing a second time when the chain is walked again after a torn root', async () => {
    repo.rotate('snapshot');
    repo.publish();
    await once();
    const old = repo.files['timestamp.json']!;
    repo.publish();
    await once();
    stored.root = stored.root.slice(0, 100);
    repo.files['timestamp.json'] = old;
    await expect(once()).rejects.toEqual(refused('METADATA_ROLLBACK'));
  });
});

describe('stored documents', () => {
  const torn: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ['empty', () => new Uint8Array()],
    ['cut', (bytes) => bytes.slice(0, bytes.length >> 1)],
    ['zeroed', (bytes) => new Uint8Array(bytes.length)],
    ['another document', () => repo.files['1.targets.json']!],
  ];
  describe.each(['timestamp', 'snapshot', 'targets'])('%s', (role) => {
    it.each(torn)('%s let no rollback through and stop no refresh', async (_, tear) => {
      const old = { ...repo.files };
      repo.publish();
      await once();
      const present = { ...repo.files };
      stored.documents.set(role, tear(stored.documents.get(role)!));
      repo.files = { ...present, 'timestamp.json': old['timestamp.json']! };
      await expect(once()).rejects.toEqual(refused('METADATA_ROLLBACK'));
      repo.files = present;
      await once();
      expect(stored.documents.get(role)).toEqual(
        repo.files[role === 'timestamp' ? 'timestamp.json' : `2.${role}.json`],
      );
    });
  });

  it('that have expired are replaced', async () => {
    await once();
    repo.expires.timestamp += 100_000_000_000;
    repo.expires.snapshot += 100_000_000_000;
    repo.expires.targets += 100_000_000_000;
    repo.publish();
    await once(undefined, START + 400 * 86_400_000);
    expect(stored.floors.timestamp).toBe(2);
  });

  it('of roles that the snapshot no longer lists are dropped', async () => {
    stored.documents.set('gone', Buffer.from('{}'));
    await once();
    expect([...stored.documents.keys()].sort()).toEqual(['snapshot', 'targets', 'timestamp']);
  });
});

describe('a search', () => {
  const team = signerOf('team');
  const file = { length: 3, hashes: { sha256: sha256('abc') } };
  const delegate = (name: string, extra: object = {}) => ({
    name,
    ...roleOf([team]),
    paths: ['*'],
    terminating: false,
    ...extra,
  });
  const delegations = (...roles: object[]) => ({ keys: keysOf([team]), roles });
  const role = (targets: object = {}, signer = team) => ({
    version: 1,
    targets: targets as Record<string, typeof file>,
    signers: [signer],
  });

  it('keeps no delegated document that does not verify', async () => {
    repo.delegations = delegations(delegate('team'));
    repo.delegated = { team: role({ a: file }, signerOf('thief')) };
    repo.publish();
    await expect(once('a')).rejects.toEqual(refused('SIGNATURE_INVALID'));
    expect(stored.documents.has('team')).toBe(false);
  });

  it('ends where a role can not be fetched, and asks no later one (5.6.7)', async () => {
    repo.delegations = delegations(delegate('first'), delegate('second'));
    repo.delegated = { first: role(), second: role({ a: file }) };
    repo.publish();
    const { '1.first.json': _, ...rest } = repo.files;
    repo.files = rest;
    await expect(once('a')).rejects.toEqual(refused('METADATA_INVALID'));
    expect(asked).not.toContain('1.second.json');
  });

  it('follows path_hash_prefixes, and a role with neither paths nor prefixes speaks of nothing', async () => {
    const prefix = sha256('a').slice(0, 3);
    const other = `${prefix.slice(0, 2)}${prefix[2] === '0' ? '1' : '0'}`;
    const bins = [
      delegate('none', { paths: undefined }),
      delegate('wrong', { paths: undefined, path_hash_prefixes: [other] }),
      delegate('right', { paths: undefined, path_hash_prefixes: [prefix] }),
    ];
    repo.delegations = delegations(...bins.map((bin) => JSON.parse(JSON.stringify(bin))));
    repo.delegated = { none: role({ a: file }), wrong: role({ a: file }), right: role({ a: file }) };
    repo.publish();
    expect(await once('a')).toMatchObject(file);
    expect(asked.slice(-1)).toEqual(['1.right.json']);
  });

  it.each(['?', '#', '../up', '__proto__', 'constructor', 'a'.repeat(1000)])(
    'takes %s for a role’s name like any other, and keeps it',
    async (name) => {
      repo.delegations = delegations(delegate(name));
      repo.delegated = Object.fromEntries([[name, role({ a: file })]]);
      repo.publish();
      expect(await once('a')).toMatchObject(file);
      expect(stored.documents.has(name)).toBe(true);
      expect(await once('a')).toMatchObject(file);
      expect(asked).toEqual(['2.root.json', 'timestamp.json']);
    },
  );

  it.each(['root', 'timestamp', 'snapshot', 'targets'])(
    'refuses a delegation under the name of the top-level role %s',
    async (name) => {
      repo.delegations = delegations(delegate(name));
      repo.publish();
      await expect(once('a')).rejects.toEqual(refused('METADATA_INVALID'));
    },
  );

  it('reads `constructor` and `__proto__` as paths nobody speaks of', async () => {
    expect(await once('constructor')).toBeUndefined();
    expect(await once('__proto__')).toBeUndefined();
  });
});

describe('the keys of a role', () => {
  interface Holder {
    key: TufKey;
    sign(message: Uint8Array): Uint8Array;
  }
  const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }) as string;
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
  const holders: Record<'ed25519' | 'rsa' | 'ecdsa', Holder> = {
    ed25519: {
      key: tufKey(hex(signerOf('mixed').publicKey)),
      sign: (message) => signerOf('mixed').sign(message),
    },
    rsa: {
      key: { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: pem(rsa.publicKey) } },
      sign: (message) => sign('sha256', message, { key: rsa.privateKey, ...padding }),
    },
    ecdsa: {
      key: { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem(ec.publicKey) } },
      sign: (message) => sign('sha256', message, ec.privateKey),
    },
  };
  type Keys = Record<string, TufKey>;
  /** The next root gives the timestamp these keys; the timestamp is then signed by `signers` under `ids`. */
  function timestampBy(keys: Keys, threshold: number, signatures: [string, Holder][]): void {
    repo.tamper.root = (signed) => {
      signed.keys = { ...(signed.keys as Keys), ...keys };
      signed.roles = { ...(signed.roles as object), timestamp: { keyids: Object.keys(keys), threshold } };
    };
    repo.publishRoot();
    const { signed } = JSON.parse(Buffer.from(repo.files['timestamp.json']!).toString());
    const made = signatures.map(([keyid, holder]) => ({
      keyid,
      sig: hex(holder.sign(canonicalJson(signed))),
    }));
    repo.files['timestamp.json'] = Buffer.from(JSON.stringify({ signed, signatures: made }));
  }
  const named = (...keys: TufKey[]): Keys => Object.fromEntries(keys.map((key) => [keyIdOfKey(key), key]));
  const by = (holder: Holder): [string, Holder] => [keyIdOfKey(holder.key), holder];
  const { ed25519, rsa: rsaHolder, ecdsa } = holders;

  it('may be of every scheme that TUF describes, and all must sign when the threshold says so', async () => {
    const keys = named(ed25519.key, rsaHolder.key, ecdsa.key);
    timestampBy(keys, 3, [by(ed25519), by(rsaHolder), by(ecdsa)]);
    await once();
    expect(stored.floors.timestamp).toBe(1);
  });

  it.each(['ed25519', 'rsa', 'ecdsa'] as const)(
    'are one too few without the signature by %s',
    async (missing) => {
      const all = Object.entries(holders).filter(([name]) => name !== missing);
      timestampBy(
        named(ed25519.key, rsaHolder.key, ecdsa.key),
        3,
        all.map(([, holder]) => by(holder)),
      );
      await expect(once()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID', data: { count: 2 } });
    },
  );

  it('count once under two ids and two spellings', async () => {
    const crlf = {
      ...rsaHolder.key,
      keyval: { public: rsaHolder.key.keyval.public!.replaceAll('\n', '\r\n') },
    };
    timestampBy(named(rsaHolder.key, crlf), 2, [by(rsaHolder), [keyIdOfKey(crlf), rsaHolder]]);
    await expect(once()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID', data: { count: 1 } });
  });

  it('count once with a field that makes another id of the same key', async () => {
    const twin = { ...ecdsa.key, 'x-owner': '@someone' };
    timestampBy(named(ecdsa.key, twin), 2, [by(ecdsa), [keyIdOfKey(twin), ecdsa]]);
    await expect(once()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID', data: { count: 1 } });
    timestampBy(named(twin), 1, [[keyIdOfKey(twin), ecdsa]]);
    await once();
  });

  it('vouch for nothing under an id that is not theirs (4.3)', async () => {
    timestampBy({ 'my-key': ecdsa.key }, 1, [['my-key', ecdsa]]);
    await expect(once()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID', data: { count: 0 } });
  });

  it('of a scheme that is not known are carried and do not count', async () => {
    const future = {
      keytype: 'future',
      scheme: 'f1',
      keyval: { identity: 'x', issuer: 'y' },
    } as unknown as TufKey;
    timestampBy(named(future, ed25519.key), 1, [[keyIdOfKey(future), ed25519], by(ed25519)]);
    await once();
    expect(stored.floors.root).toBe(2);
  });

  it('may not sign twice under one id, also when one signature would be enough', async () => {
    timestampBy(named(ed25519.key), 1, [by(ed25519), by(ed25519)]);
    await expect(once()).rejects.toEqual(refused('METADATA_INVALID'));
  });

  it.each([0, -1])('can not have the threshold %i', async (threshold) => {
    timestampBy(named(ed25519.key), threshold, []);
    await expect(once()).rejects.toEqual(refused('METADATA_INVALID'));
    expect(stored.floors.root).toBe(1);
  });
});
