/**
 * Every signed document with its bytes changed, cut or continued, and documents made to hurt. A change outside of what
 * the signatures cover (white space, the case of a hexadecimal digit) may pass where no hash is named; what is then
 * trusted is what was signed.
 */
import { execFileSync } from 'node:child_process';
import { nativeVerify } from '@skein/agent/system-clock.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import { readDirector } from '@skein/protocol/trust/director.ts';
import { MAX_BYTES, openDocument } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot } from '@skein/protocol/trust/root-chain.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { signDocument } from '@skein/protocol/trust/signing.ts';
import { NO_FLOORS, TrustedSet } from '@skein/protocol/trust/trusted-set.ts';
import { beforeAll, describe, expect, it } from 'vitest';
import { LONG, mutations } from '../../mutations.ts';
import { MemoryTrustStore } from './memory-trust-store.ts';
import {
  DEVICE,
  keysOf,
  orderOf,
  roleOf,
  SimulatedRepositories,
  START,
  sha256,
  signerOf,
} from './simulated-repository.ts';

const HOURS = 3_600_000;
const keys = ed25519Keys(nativeVerify);
const team = signerOf('team');
const path = manifestPath('gas', '3.0.0');
const target = { length: 3, hashes: { sha256: sha256('abc') } };
const encoder = new TextEncoder();
const refused = (code: string) => expect.objectContaining({ code });
let repo: SimulatedRepositories;

beforeAll(() => {
  repo = new SimulatedRepositories();
  const custom = { model: 'gas', version: '3.0.0', release: 3, floor: 1, tags: [] };
  const role = { name: 'team', ...roleOf([team]), paths: ['models/gas/*/manifest.json'], terminating: true };
  repo.image.delegations = { keys: keysOf([team]), roles: [role] };
  repo.image.delegated = {
    team: { version: 1, targets: { [path]: { ...target, custom } }, signers: [team] },
  };
  repo.orders = [orderOf('gas', '3.0.0')];
  repo.directorTargets = { [path]: target };
  repo.image.rotate('timestamp');
  repo.director.rotate('targets');
  repo.publish();
});

interface Reader {
  good: Uint8Array;
  /** What is then trusted. What throws has changed nothing. */
  read(bytes: Uint8Array): unknown;
}

const image = (name: string) => repo.image.files[name]!;
const rootOf = (files: Record<string, Uint8Array>) => loadRoot(keys, files['1.root.json']!, 'root');
const standing = ({ root, floors, timestamp, snapshot, recovered }: TrustedSet) => ({
  ...{ root, floors, timestamp, snapshot, recovered },
});

/** @param steps what a client has taken before the document that `read` gives to it */
function imageReader(
  name: string,
  steps: ((set: TrustedSet) => unknown)[],
  read: (set: TrustedSet, bytes: Uint8Array) => unknown,
): Reader {
  const before = () => {
    const set = new TrustedSet(keys, rootOf(repo.image.files), NO_FLOORS, START);
    for (const step of steps) step(set);
    return set;
  };
  const known = standing(before());
  return {
    good: image(name),
    read(bytes) {
      const set = Object.assign(new TrustedSet(keys, known.root, known.floors, START), known);
      try {
        return read(set, bytes);
      } catch (thrown) {
        expect(standing(set)).toEqual(known);
        throw thrown;
      }
    },
  };
}

const root = (set: TrustedSet) => set.updateRoot(image('2.root.json'));
const timestamp = (set: TrustedSet) => set.updateTimestamp(image('timestamp.json'));
const snapshot = (set: TrustedSet) => set.updateSnapshot(image('1.snapshot.json'));
const readers: Record<string, () => Reader> = {
  'the pinned root': () => ({ good: image('1.root.json'), read: (bytes) => loadRoot(keys, bytes, 'root') }),
  'the next root': () =>
    imageReader('2.root.json', [], (set, bytes) => {
      set.updateRoot(bytes);
      return set.root;
    }),
  'the timestamp': () =>
    imageReader('timestamp.json', [root], (set, bytes) => {
      set.updateTimestamp(bytes);
      return set.timestamp;
    }),
  'the snapshot': () =>
    imageReader('1.snapshot.json', [root, timestamp], (set, bytes) => set.updateSnapshot(bytes)),
  'the targets': () =>
    imageReader('1.targets.json', [root, timestamp, snapshot], (set, bytes) => set.readTargets(bytes)),
  'delegated targets': () =>
    imageReader('1.team.json', [root, timestamp, snapshot], (set, bytes) => {
      const targets = set.readTargets(image('1.targets.json'));
      return set.readTargets(bytes, 'team', { name: 'targets', targets });
    }),
  'the director’s root': () => {
    const pinned = rootOf(repo.director.files);
    const good = repo.director.files['2.root.json']!;
    return { good, read: (bytes) => nextRoot(keys, pinned, bytes, 'root') };
  },
  'the director’s document': () => {
    const { files } = repo.director;
    const latest = nextRoot(keys, rootOf(files), files['2.root.json']!, 'root');
    const context = { keys, root: latest, device: DEVICE, floor: 0, now: START };
    return { good: files['targets.json']!, read: (bytes) => readDirector(bytes, context) };
  },
};

/** What is trusted; undefined: refused as such. */
function outcome({ read }: Reader, bytes: Uint8Array, what: string): unknown {
  try {
    return read(bytes);
  } catch (thrown) {
    if (!(thrown instanceof SkeinError)) expect.fail(`${what}: ${(thrown as Error).stack}`);
    expect(thrown.code, what).toMatch(/^(METADATA_|SIGNATURE_INVALID)/);
    return undefined;
  }
}

describe('any changed byte', () => {
  it.each(Object.keys(readers))(
    'of %s is refused, or what is trusted is what was signed',
    (name) => {
      const reader = readers[name]!();
      const honest = reader.read(reader.good);
      for (const { what, bytes } of mutations(reader.good)) {
        const trusted = outcome(reader, bytes, what);
        if (trusted !== undefined) expect(trusted, what).toEqual(honest);
      }
    },
    HOURS,
  );

  it(
    'of a document that is named by its hash is refused without exception',
    () => {
      const reader = readers['the snapshot']!();
      for (const { what, bytes } of mutations(reader.good))
        expect(outcome(reader, bytes, what), what).toBeUndefined();
    },
    HOURS,
  );

  it.each([
    '/v1/image/2.root.json',
    '/v1/image/timestamp.json',
    '/v1/image/1.snapshot.json',
    '/v1/image/1.targets.json',
    '/v1/image/1.team.json',
    '/v1/director/2.root.json',
    '/v1/director/targets.json',
  ])(
    'of %s leaves a device as if it had not come',
    async (asked) => {
      const [, , side, name] = asked.split('/') as ['', 'v1', 'image' | 'director', string];
      const refresh = async (answer: Uint8Array | Error) => {
        const store = new MemoryTrustStore();
        store.pin(image('1.root.json'), repo.director.files['1.root.json']!);
        repo.intercept = (file) => (file === asked ? answer : undefined);
        const clock = { now: () => START, mono: () => 0, after: () => ({ cancel() {} }) };
        const client = new TrustClient({
          fetcher: repo,
          store,
          clock,
          keys,
          device: DEVICE,
          hardwareTags: [],
        });
        const ended = await client.refresh().catch((thrown: unknown) => thrown);
        const { documents: _, ...state } = store.state!;
        return { ended, state, orders: client.view()?.orders ?? [] };
      };
      const good = repo[side].files[name]!;
      const honest = await refresh(good);
      expect(honest.orders).toHaveLength(1);
      const without = await refresh(new SkeinError('UNREACHABLE', 'withheld'));
      for (const { what, bytes } of mutations(good, LONG ? 150 : 2, false)) {
        const { ended, state, orders } = await refresh(bytes);
        if (orders.length > 0) expect(orders, what).toEqual(honest.orders);
        else if (ended instanceof Error) {
          expect(ended, what).toBeInstanceOf(SkeinError);
          expect(state, what).toEqual(without.state);
        }
      }
      repo.intercept = () => undefined;
    },
    HOURS,
  );
});

describe('a document made to hurt', () => {
  const open = (text: string) => openDocument('targets', encoder.encode(text), 'targets');
  const filled = (part: string, share = 1) =>
    part.repeat(Math.floor(((MAX_BYTES.targets - 200) * share) / part.length));

  it.each([
    [
      'with a million signatures that are none',
      () => `{"signed":{"_type":"targets"},"signatures":[${filled('0,', LONG ? 1 : 0.4)}0]}`,
    ],
    [
      'with hundreds of thousands of empty signatures',
      () => `{"signed":{"_type":"targets"},"signatures":[${filled('{},', LONG ? 1 : 0.2)}{}]}`,
    ],
    ['nested a million deep', () => `{"signed":{"_type":"targets","x":${filled('[')}`],
    [
      'nested a million deep, and well-formed',
      () => `{"signed":{"_type":"targets","x":${'['.repeat(3e6)}${']'.repeat(3e6)}},"signatures":[]}`,
    ],
    [
      'with a million members of one name',
      () => `{${filled('"a":0,')}"signed":{"_type":"targets"},"signatures":[]}`,
    ],
    ['of one string that does not end', () => `{"${filled('\\"')}`],
    ['larger than is taken', () => ' '.repeat(MAX_BYTES.targets + 1)],
  ])(
    '%s is refused in bounded memory',
    (_, make) => {
      const text = make();
      const before = process.memoryUsage().rss;
      expect(() => open(text)).toThrow(refused('METADATA_INVALID'));
      expect(process.memoryUsage().rss - before).toBeLessThan(450 * 2 ** 20);
    },
    120_000,
  );

  it.each(['{},', '[],', '"ab",', '0,'])(
    'of a million %s does not end the process of a small board',
    (part) => {
      const module = new URL('../../../protocol/src/trust/metadata.ts', import.meta.url);
      const script = `
      import { openDocument } from ${JSON.stringify(module.href)};
      const inUse = Array.from({ length: 25 }, () => new Array(131_072).fill(0.5));
      const part = ${JSON.stringify(part)};
      for (let size = ${MAX_BYTES.targets - 200}; size > 200_000; size *= 0.6) {
        const text = '{"signed":{"_type":"targets","x":[' + part.repeat(size / part.length) + '0]},"signatures":[]}';
        try {
          openDocument('targets', new TextEncoder().encode(text), 'targets');
          console.log('opened');
        } catch (error) {
          console.log(error.code);
        }
      }
      if (inUse.length !== 25) console.log('gone');`;
      const flags = ['--max-old-space-size=128', '--max-semi-space-size=1', '--input-type=module'];
      const said = execFileSync(process.execPath, [...flags, '-e', script], { encoding: 'utf8' });
      const lines = said.trim().split('\n');
      expect(lines.filter((line) => line !== 'METADATA_INVALID' && line !== 'opened')).toEqual([]);
      expect(lines.at(-1)).toBe('opened');
    },
    60_000,
  );

  it('is not trusted for one half by those who read the first of two members, and for the other by those who read the last', () => {
    const good = Buffer.from(image('timestamp.json')).toString();
    const reader = readers['the timestamp']!();
    for (const twin of [
      good.replace('{"signed":', '{"signed":{"_type":"timestamp"},"signed":'),
      good.replace('"version":1', '"version":9,"version":1'),
      good.replace('"version":1', '"version":1,"\\u0076ersion":9'),
      good.replace('"signatures":', '"signatures":[],"signatures":'),
      good.replace('"sig":', '"sig":"","sig":'),
    ]) {
      expect(twin).not.toBe(good);
      expect(() => reader.read(encoder.encode(twin))).toThrow(/stands twice/);
    }
  });

  it.each([
    ['a version that is no number', '"version":1', '"version":1e999'],
    ['a version written as text', '"version":1', '"version":"1"'],
    ['a lone surrogate', '"version":1', '"x":"\\ud800","version":1'],
    ['a fraction', '"version":1', '"x":0.5,"version":1'],
    ['a prototype', '"version":1', '"__proto__":{"version":9},"version":1'],
    ['an overlong spelling in UTF-8', '"version"', '\xc0\xb6ersion'],
  ])('by %s is refused', (_, part, by) => {
    const text = Buffer.from(image('timestamp.json')).toString('latin1').replace(part, by);
    const reader = readers['the timestamp']!();
    expect(outcome(reader, new Uint8Array(Buffer.from(text, 'latin1')), by)).toBeUndefined();
  });

  it('by its own signers with a list of any length costs a device no gigabytes', () => {
    const many = Object.fromEntries(
      Array.from({ length: LONG ? 40_000 : 10_000 }, (_, i) => [`t${i}`, { length: -1 }]),
    );
    const { signed } = JSON.parse(Buffer.from(image('1.targets.json')).toString());
    const bytes = signDocument({ ...signed, targets: many }, repo.image.signers.targets);
    const reader = imageReader('1.targets.json', [root, timestamp, snapshot], (set, own) => {
      set.snapshot!.meta['targets.json'] = { version: 1 };
      return set.readTargets(own);
    });
    const before = process.memoryUsage().rss;
    expect(() => reader.read(bytes)).toThrow(refused('METADATA_INVALID'));
    expect(process.memoryUsage().rss - before).toBeLessThan(450 * 2 ** 20);
  });
});
