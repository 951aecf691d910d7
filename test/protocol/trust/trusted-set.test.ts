/** The client workflow clause by clause, where the refresh of a whole device does not reach it. */
import { createHash } from 'node:crypto';
import { nativeVerify } from '@skein/agent/system-clock.ts';
import { MAX_BYTES } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, rotated } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { NO_FLOORS, TrustedSet } from '@skein/protocol/trust/trusted-set.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { SimulatedTuf, START, signerOf } from './simulated-repository.ts';

const keys = ed25519Keys(nativeVerify);
const refused = (code: string) => expect.objectContaining({ code });
let repo: SimulatedTuf;

beforeEach(() => {
  repo = new SimulatedTuf('image');
  repo.publish();
});

const root = () => loadRoot(keys, repo.files['1.root.json']!, 'root');
const set = (floors = NO_FLOORS) => new TrustedSet(keys, root(), floors, START);
const file = (name: string) => repo.files[name]!;
const decode = (name: string) => JSON.parse(Buffer.from(file(name)).toString());

describe('the order of loading', () => {
  it('is roots, timestamp, snapshot, targets; anything else is our own mistake', () => {
    const trusted = set();
    expect(() => trusted.updateSnapshot(file('1.snapshot.json'))).toThrow(refused('INTERNAL'));
    trusted.updateTimestamp(file('timestamp.json'));
    expect(() => trusted.readTargets(file('1.targets.json'))).toThrow(refused('INTERNAL'));
    expect(() => trusted.updateRoot(file('1.root.json'))).toThrow(refused('INTERNAL'));
    trusted.updateSnapshot(file('1.snapshot.json'));
    expect(trusted.readTargets(file('1.targets.json')).version).toBe(1);
  });

  it('a refused document changes nothing', () => {
    const trusted = set();
    trusted.updateTimestamp(file('timestamp.json'));
    const { floors, timestamp } = trusted;
    repo.tamper.timestamp = (signed) => Object.assign(signed, { expires: '2020-01-01T00:00:00Z' });
    repo.publish(['timestamp']);
    expect(() => trusted.updateTimestamp(file('timestamp.json'))).toThrow(refused('METADATA_EXPIRED'));
    expect(trusted).toMatchObject({ floors, timestamp });
  });
});

describe('timestamp', () => {
  it('5.4.3.1: of the same version keeps the one already trusted', () => {
    const trusted = set();
    expect(trusted.updateTimestamp(file('timestamp.json'))).toBe(true);
    repo.versions.timestamp = 0;
    repo.publish(['snapshot', 'timestamp']);
    expect(trusted.updateTimestamp(file('timestamp.json'))).toBe(false);
    expect(trusted.timestamp?.meta['snapshot.json'].version).toBe(1);
  });

  it('5.4.4: the moment of expiry is expired', () => {
    const late = new TrustedSet(keys, root(), NO_FLOORS, repo.expires.timestamp);
    expect(() => late.updateTimestamp(file('timestamp.json'))).toThrow(refused('METADATA_EXPIRED'));
    const intime = new TrustedSet(keys, root(), NO_FLOORS, repo.expires.timestamp - 1);
    expect(intime.updateTimestamp(file('timestamp.json'))).toBe(true);
  });

  it('keeps fields that it does not know, since the signature covers them', () => {
    repo.tamper.timestamp = (signed) => Object.assign(signed, { 'x-new': [1, { deep: true }] });
    repo.publish(['timestamp']);
    const trusted = set();
    trusted.updateTimestamp(file('timestamp.json'));
    expect(trusted.timestamp).toMatchObject({ 'x-new': [1, { deep: true }] });
  });

  it.each([
    ['another type under the same key', { _type: 'snapshot' }],
    ['another major version of the specification', { spec_version: '2.0.0' }],
    ['version 0', { version: 0 }],
    ['a fractional version', { version: 1.5 }],
    ['a version beyond exact numbers', { version: 2 ** 53 }],
    ['an expiry that is no date', { expires: '2026-02-30T99:00:00Z' }],
    ['an expiry with fractions', { expires: '2027-01-01T00:00:00.5Z' }],
    ['no snapshot', { meta: {} }],
    ['a list in place of an object', { meta: [] }],
  ])('is refused with %s', (_, change) => {
    const signed = { ...decode('timestamp.json').signed, ...change };
    const message = JSON.stringify({
      signed,
      signatures: [{ keyid: root().roles.timestamp.keyids[0], sig: 'ab'.repeat(64) }],
    });
    const whole = Number.isSafeInteger(signed.version)
      ? signDocument(signed, repo.signers.timestamp)
      : Buffer.from(message);
    expect(() => set().updateTimestamp(whole)).toThrow(refused('METADATA_INVALID'));
  });

  it.each([
    ['nothing', ''],
    ['no JSON', 'signed'],
    ['a number', '7'],
    ['no signatures', '{"signed":{"_type":"timestamp"}}'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
    [
      'a recursion bomb',
      `{"signed":{"_type":"timestamp","x":${'['.repeat(7000)}${']'.repeat(7000)}},"signatures":[]}`,
    ],
    ['too many bytes', Buffer.alloc(MAX_BYTES.timestamp + 1, ' ')],
  ])('is refused when it is %s', (_, bytes) => {
    expect(() => set().updateTimestamp(Buffer.from(bytes as string))).toThrow(refused('METADATA_INVALID'));
  });
});

describe('snapshot', () => {
  const named = (change: object) => {
    repo.tamper.timestamp = (signed) => {
      const meta = (signed.meta as Record<string, object>)['snapshot.json'];
      signed.meta = { 'snapshot.json': { ...meta, ...change } };
    };
    repo.publish(['timestamp']);
    const trusted = set();
    trusted.updateTimestamp(file('timestamp.json'));
    return trusted;
  };
  const sha512 = () => createHash('sha512').update(file('1.snapshot.json')).digest('hex');
  const sha256 = () => createHash('sha256').update(file('1.snapshot.json')).digest('hex');

  it('5.5.2: needs the length and every hash that the timestamp names', () => {
    const load = (change: object) => named(change).updateSnapshot(file('1.snapshot.json'));
    expect(() => load({ length: 5 })).toThrow(refused('METADATA_DISAGREES'));
    expect(() => load({ hashes: { sha256: '0'.repeat(64) } })).toThrow(refused('METADATA_DISAGREES'));
    expect(() => load({ hashes: { sha256: sha256(), sha512: '0'.repeat(128) } })).toThrow(
      refused('METADATA_DISAGREES'),
    );
    expect(() => load({ hashes: { md5: '0'.repeat(32) } })).toThrow(refused('METADATA_DISAGREES'));
    load({ hashes: { sha512: sha512() } });
    load({ hashes: { sha256: sha256(), future: '00' } });
  });

  it('5.5.4: is the version that the timestamp names', () => {
    repo.tamper.timestamp = (signed) => Object.assign(signed, { meta: { 'snapshot.json': { version: 2 } } });
    repo.publish(['timestamp']);
    const trusted = set();
    trusted.updateTimestamp(file('timestamp.json'));
    expect(() => trusted.updateSnapshot(file('1.snapshot.json'))).toThrow(refused('METADATA_DISAGREES'));
  });

  it('names without hash and length are enough, as TUF allows', () => {
    repo.tamper.timestamp = (signed) => Object.assign(signed, { meta: { 'snapshot.json': { version: 1 } } });
    repo.publish(['timestamp']);
    const trusted = set();
    trusted.updateTimestamp(file('timestamp.json'));
    trusted.updateSnapshot(file('1.snapshot.json'));
    expect(trusted.snapshot?.version).toBe(1);
  });
});

describe('roots', () => {
  const rootOf = (change: (tuf: SimulatedTuf) => void) => {
    const tuf = new SimulatedTuf('image');
    change(tuf);
    tuf.publishRoot();
    return loadRoot(keys, tuf.files['2.root.json']!, 'root');
  };

  it('withdraw a role’s versions only when a key goes or the threshold rises', () => {
    const [one, two] = [signerOf('image timestamp'), signerOf('two')];
    expect(
      rotated(
        keys,
        root(),
        rootOf(() => {}),
        'timestamp',
      ),
    ).toBe(false);
    const added = rootOf((tuf) => {
      tuf.signers.timestamp = [one, two];
    });
    expect(rotated(keys, root(), added, 'timestamp')).toBe(false);
    const replaced = rootOf((tuf) => {
      tuf.signers.timestamp = [two];
    });
    expect(rotated(keys, root(), replaced, 'timestamp')).toBe(true);
    const stricter = rootOf((tuf) => {
      tuf.signers.timestamp = [one, two];
      tuf.thresholds.timestamp = 2;
    });
    expect(rotated(keys, root(), stricter, 'timestamp')).toBe(true);
    expect(rotated(keys, root(), stricter, 'snapshot')).toBe(false);
  });

  it('may ask more of a role than it has keys: that role then never verifies', () => {
    repo.thresholds.snapshot = 3;
    repo.publishRoot();
    const trusted = set();
    trusted.updateRoot(file('2.root.json'));
    trusted.updateTimestamp(file('timestamp.json'));
    expect(() => trusted.updateSnapshot(file('1.snapshot.json'))).toThrow(refused('SIGNATURE_INVALID'));
  });

  it('walked again from the pin reset no floor a second time', () => {
    repo.rotate('timestamp');
    repo.publish();
    const first = set();
    first.updateRoot(file('2.root.json'));
    first.updateTimestamp(file('timestamp.json'));
    const again = set(first.floors);
    again.updateRoot(file('2.root.json'));
    expect(again.floors).toEqual(first.floors);
  });

  it('of which the newest is withheld are a rollback', () => {
    const trusted = set({ ...NO_FLOORS, root: 2 });
    expect(() => trusted.finishRoot()).toThrow(refused('METADATA_ROLLBACK'));
  });

  it.each([
    [
      'names a role twice over by one key id',
      (r: { timestamp: { keyids: string[] } }) => r.timestamp.keyids.push(r.timestamp.keyids[0]!),
    ],
    ['leaves a role out', (r: { snapshot?: object }) => delete r.snapshot],
    ['has a negative threshold', (r: { targets: { threshold: number } }) => (r.targets.threshold = -1)],
  ])('that %s is refused', (_, change) => {
    repo.tamper.root = (signed) => change(signed.roles as never);
    repo.publishRoot();
    expect(() => set().updateRoot(file('2.root.json'))).toThrow(refused('METADATA_INVALID'));
  });
});
