/** Files of a ceremony as they come back from a stick that somebody else had. */
import { encodeDraft, openDraft, parseDraft } from '@skein/fleet-server/keys/draft.ts';
import type { Draft } from '@skein/fleet-server/keys/draft-checks.ts';
import { progressOf, withSignature } from '@skein/fleet-server/keys/draft-signing.ts';
import { describeDraft, fingerprintOf, requirePinned } from '@skein/fleet-server/keys/review.ts';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { openDocument, readTargets } from '@skein/protocol/trust/metadata.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { rootSigned, signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';
import { LONG, mutations } from '../../mutations.ts';
import { hex, START, sha256, signerOf } from '../../protocol/trust/simulated-repository.ts';

const HOURS = 3_600_000;
const keys = ed25519Keys(nativeVerify);
const [alice, bob, carol] = ['alice', 'bob', 'carol'].map(signerOf) as [Holder, Holder, Holder];
type Holder = ReturnType<typeof signerOf>;

const rolesWith = (...holders: Holder[]) => {
  const of = (...signers: Holder[]) => ({ keys: signers.map((s) => hex(s.publicKey)), threshold: 1 });
  return {
    root: { ...of(...holders), threshold: 2 },
    targets: of(alice),
    snapshot: of(bob),
    timestamp: of(bob),
  };
};
const first = signDocument(rootSigned(1, START + 700 * DAY, rolesWith(alice, bob)), [alice, bob]);
const custom = { model: 'gas', version: '1.0.0', release: 1, floor: 0, tags: [] };
const targetsOf = (version: number) => ({
  ...{ _type: 'targets', spec_version: '1.0.34', version, expires: '2027-01-01T00:00:00Z' },
  targets: { 'models/gas/1.0.0/manifest.json': { length: 3, hashes: { sha256: sha256('x') }, custom } },
});
const present = signDocument(targetsOf(1), [alice]);

/** A next root and next targets, each signed by one holder. */
const draft = (() => {
  const parts = {
    purpose: 'carol comes',
    chains: { image: [first], director: [] },
    targets: present,
    documents: [
      { kind: 'image-root' as const, signed: rootSigned(2, START + 700 * DAY, rolesWith(alice, bob, carol)) },
      { kind: 'image-targets' as const, signed: targetsOf(2) },
    ],
  };
  let open = openDraft(parts, keys);
  for (const { kind, canonical } of open.documents)
    open = withSignature(open, kind, hex(alice.publicKey), alice.sign(canonical), keys);
  return open;
})();
const good = new TextEncoder().encode(encodeDraft(draft));
const pins = {
  image: draft.chains.image[0],
  director: undefined,
  targets: readTargets(openDocument('targets', present, 't'), 't'),
};

/** Undefined: refused as such. */
function read(bytes: Uint8Array, what: string): Draft | undefined {
  try {
    const opened = parseDraft(bytes, keys, 'file');
    requirePinned(opened, pins);
    return opened;
  } catch (thrown) {
    if (!(thrown instanceof SkeinError)) expect.fail(`${what}: ${(thrown as Error).stack}`);
    return undefined;
  }
}

describe('a draft', () => {
  it(
    'with any byte changed holds no signature of anything else, and follows what was seen here',
    () => {
      expect(read(good, 'good')).toEqual(draft);
      for (const { what, bytes } of mutations(good, 60)) {
        const opened = read(bytes, what);
        if (!opened) continue;
        for (const { kind, signed, signatures } of opened.documents) {
          const same = draft.documents.find((document) => document.kind === kind)!;
          if (signatures.length > 0) expect(fingerprintOf(signed), what).toBe(fingerprintOf(same.signed));
        }
        const chain = opened.chains.image.map(fingerprintOf);
        if (chain.length > 0) expect(chain, what).toEqual(draft.chains.image.map(fingerprintOf));
        for (const line of describeDraft(opened)) expect(line, what).not.toMatch(/\p{C}/u);
        progressOf(opened, keys);
      }
    },
    HOURS,
  );

  const plain = () => JSON.parse(new TextDecoder().decode(good));
  const changed = (change: (file: ReturnType<typeof plain>) => void) => {
    const file = plain();
    change(file);
    return new TextEncoder().encode(JSON.stringify(file));
  };

  // biome-ignore format: a table
  it.each<[string, (file: ReturnType<typeof plain>) => void, string]>([
    ['whose document is null',         (f) => { f.documents[0].signed = null; },                           'METADATA_INVALID'],
    ['whose document is a list',       (f) => { f.documents[0].signed = []; },                             'METADATA_INVALID'],
    ['whose roles are null',           (f) => { f.documents[0].signed.roles = null; },                     'METADATA_INVALID'],
    ['with a role that is null',       (f) => { f.documents[0].signed.roles.root = null; },                'METADATA_INVALID'],
    ['with a threshold of 0',          (f) => { f.documents[0].signed.roles.root.threshold = 0; },         'THRESHOLD_INVALID'],
    ['with a threshold that is NaN',   (f) => { f.documents[0].signed.roles.root.threshold = 0.5; },       'THRESHOLD_INVALID'],
    ['whose chain begins with null',   (f) => { f.chains.image[0].signed = null; },                        'METADATA_INVALID'],
    ['whose targets are a root',       (f) => { f.targets = f.chains.image[0]; },                          'METADATA_INVALID'],
    ['with one document twice',        (f) => { f.documents.push(f.documents[1]); },                       'METADATA_INVALID'],
    ['with its root as targets',       (f) => { f.documents[0].kind = 'image-targets'; f.documents.pop(); }, 'METADATA_INVALID'],
    ['with a signature twice',         (f) => { f.documents[0].signatures.push(f.documents[0].signatures[0]); }, 'METADATA_INVALID'],
    ['with a signature of the other',  (f) => { f.documents[0].signatures = f.documents[1].signatures; },  'SIGNATURE_INVALID'],
    ['with a key that no holder has',  (f) => { f.documents[0].signed.roles.root.keyids.push('x'.repeat(64)); }, 'SIGNATURE_INVALID'],
    ['with a lone surrogate',          (f) => { f.documents[0].signed['x-note'] = '\ud800'; },             'METADATA_INVALID'],
  ])('%s is refused', (_, change, code) => {
    expect(() => parseDraft(changed(change), keys, 'file')).toThrow(expect.objectContaining({ code }));
  });

  it('that names its holders in letters that turn text around shows none of them', () => {
    const file = changed((f) => {
      f.documents[0].signatures = [];
      f.documents[0].signed['x-skein-holders'] = Object.fromEntries(
        f.documents[0].signed.roles.root.keyids.map((id: string) => [id, 'аlice\u202e\u0007']),
      );
      f.documents[0].signed.targets = '\u001b[2J';
      f.documents[0].signed.expires = '2027-01-01T00:00:00Z';
    });
    const said = describeDraft(parseDraft(file, keys, 'file')).join('\n');
    expect(said).not.toMatch(/(?!\n)\p{C}|аlice/u);
  });

  it('nested without end, or with millions of documents, is refused in bounded memory', () => {
    const before = process.memoryUsage().rss;
    const head = '{"format":1,"purpose":"x","chains":{"image":[],"director":[]},"targets":null,"documents":[';
    for (const body of [
      `{"kind":"image-root","signed":${'['.repeat(2_000_000)}`,
      `${'{},'.repeat(LONG ? 2_000_000 : 300_000)}{}]}`,
    ])
      expect(() => parseDraft(new TextEncoder().encode(head + body), keys, 'file')).toThrow(SkeinError);
    expect(process.memoryUsage().rss - before).toBeLessThan(450 * 2 ** 20);
  }, 120_000);
});
