/**
 * A document on its way from holder to holder: what is to be signed, the signatures so far, and the roots that it
 * follows, so that a machine without a network can check whose signature counts and what would change.
 *
 * File: JSON, at most {@link MAX_DRAFT_BYTES}; `format` 1; `chains` are the roots in force, oldest first, at most
 * {@link MAX_CHAIN}; `targets` the list of models in force; `documents` at most one of each kind.
 * Opening verifies everything: chains root by root, each document as the next of its chain, each signature. A draft
 * that opens holds no signature that would not count, and no order of holders matters.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import {
  type OpenedDocument,
  openDocument,
  type Root,
  readRoot,
  readTargets,
  type Targets,
  type TufKey,
  type TufRole,
} from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot } from '@skein/protocol/trust/root-chain.ts';
import {
  countSignatures,
  publicKeys,
  type ReadKey,
  requireThreshold as requireSigned,
} from '@skein/protocol/trust/signatures.ts';
import { keyIdOf } from '@skein/protocol/trust/signing.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { requireThreshold } from './root-plan.ts';
import type { KeyInfo } from './token.ts';

export const MAX_DRAFT_BYTES: Bytes = 24 * 1024 * KIB;
export const MAX_CHAIN = 64;

export const KINDS = ['image-root', 'director-root', 'image-targets'] as const;
export type Kind = (typeof KINDS)[number];

const Signature = strict({ keyid: Type.String({ maxLength: 1024 }), sig: Type.String({ maxLength: 16384 }) });
const Signed = strict({ signed: Type.Unknown(), signatures: Type.Array(Signature, { maxItems: 1024 }) });
const Chain = Type.Array(Signed, { maxItems: MAX_CHAIN });
const File = strict({
  format: Type.Literal(1),
  purpose: Type.String({ maxLength: 300 }),
  chains: strict({ image: Chain, director: Chain }),
  targets: Type.Union([Signed, Type.Null()]),
  documents: Type.Array(strict({ kind: oneOf(KINDS), ...Signed.properties }), { minItems: 1, maxItems: 3 }),
});
const file = checker(
  File,
  'METADATA_INVALID',
  MAX_DRAFT_BYTES,
  'Ask for the file again, as `skein keys` wrote it.',
);

const encoder = new TextEncoder();
type Sig = { keyid: string; sig: string };

export interface DraftDocument {
  kind: Kind;
  signed: Root | Targets;
  /** What is signed. */
  canonical: Uint8Array;
  signatures: readonly Sig[];
}

export interface Draft {
  purpose: string;
  chains: Readonly<Record<Repo, readonly Root[]>>;
  targets: Targets | undefined;
  documents: readonly DraftDocument[];
  /** The chains and targets as they were signed, for the next holder. */
  plain: { chains: Record<Repo, Uint8Array[]>; targets: Uint8Array | undefined };
}

export interface DraftParts {
  purpose: string;
  chains: Record<Repo, Uint8Array[]>;
  targets?: Uint8Array | undefined;
  documents: readonly { kind: Kind; signed: Root | Targets | object; signatures?: readonly Sig[] }[];
}

/** @throws SkeinError METADATA_INVALID, METADATA_ROLLBACK, SIGNATURE_INVALID, KEY_DUPLICATE */
export const parseDraft = (bytes: Uint8Array, read: ReadKey, what: string): Draft => {
  const { purpose, chains, targets, documents } = file.parse(bytes, what);
  const plain = (one: { signed: unknown; signatures: readonly Sig[] }) => encoder.encode(JSON.stringify(one));
  const [image, director] = [chains.image.map(plain), chains.director.map(plain)];
  const said = documents.map(({ kind, signed, signatures }) => ({
    kind,
    signed: signed as object,
    signatures,
  }));
  return openDraft(
    { purpose, chains: { image, director }, targets: targets ? plain(targets) : undefined, documents: said },
    read,
  );
};

export function openDraft(parts: DraftParts, read: ReadKey): Draft {
  const chains = {
    image: chainOf(read, parts.chains.image, 'image root'),
    director: chainOf(read, parts.chains.director, 'director root'),
  };
  const documents = parts.documents.map(({ kind, signed, signatures = [] }) =>
    openOne(kind, signed, signatures),
  );
  if (new Set(documents.map(({ kind }) => kind)).size !== documents.length) {
    throw new SkeinError('METADATA_INVALID', 'the draft holds two documents of one kind');
  }
  const draft: Draft = {
    purpose: parts.purpose,
    chains,
    targets: parts.targets && baseTargets(read, chains.image.at(-1), parts.targets),
    documents,
    plain: { chains: parts.chains, targets: parts.targets },
  };
  for (const document of documents) requireSound(draft, document, read);
  return draft;
}

export const encodeDraft = ({ purpose, plain, documents }: Draft): string => {
  const parsed = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as object;
  const { image, director } = plain.chains;
  const said = {
    format: 1,
    purpose,
    documents: documents.map(({ kind, signed, signatures }) => ({ kind, signed, signatures })),
    chains: { image: image.map(parsed), director: director.map(parsed) },
    targets: plain.targets ? parsed(plain.targets) : null,
  };
  return `${JSON.stringify(said, null, 1)}\n`;
};

/** The document as it is published. */
export const bytesOf = ({ signed, signatures }: DraftDocument): Uint8Array =>
  encoder.encode(JSON.stringify({ signed, signatures }));

/** Whose signatures a document needs; a root needs those of the root before it and its own. */
export interface Authority {
  what: string;
  root: Root;
  role: TufRole;
}

export function authoritiesOf(draft: Draft, { kind, signed }: DraftDocument): Authority[] {
  if (kind === 'image-targets') {
    const root = rootOf(draft, 'image');
    return root ? [{ what: 'publishers', root, role: root.roles.targets }] : [];
  }
  const before = draft.chains[kind === 'image-root' ? 'image' : 'director'].at(-1);
  const own = signed as Root;
  const itself = { what: 'its own keys', root: own, role: own.roles.root };
  return before ? [{ what: 'the keys before', root: before, role: before.roles.root }, itself] : [itself];
}

/** The root that will be in force once the draft is published. */
export function rootOf(draft: Draft, repo: Repo): Root | undefined {
  const next = draft.documents.find(({ kind }) => kind === `${repo}-root`);
  return (next?.signed as Root | undefined) ?? draft.chains[repo].at(-1);
}

export interface Progress {
  kind: Kind;
  what: string;
  have: number;
  need: number;
  /** Key ids that have not signed yet and may. */
  open: string[];
}

export const progressOf = (draft: Draft, read: ReadKey): Progress[] =>
  draft.documents.flatMap((document) =>
    authoritiesOf(draft, document).map(({ what, root, role }) => {
      const have = countSignatures(read, root.keys, role, openedOf(document));
      const signed = new Set(document.signatures.map(({ keyid }) => keyid));
      const open = role.keyids.filter((id) => !signed.has(id));
      return { kind: document.kind, what, have, need: role.threshold, open };
    }),
  );

export const isComplete = (progress: readonly Progress[]): boolean =>
  progress.every(({ have, need }) => have >= need);

/** @throws SkeinError THRESHOLD_UNMET naming who may still sign */
export function requireComplete(draft: Draft, read: ReadKey): void {
  const lacking = progressOf(draft, read).filter(({ have, need }) => have < need);
  if (lacking.length === 0) return;
  const said = lacking.map(({ kind, what, have, need }) => `${kind}: ${have} of ${need} of ${what}`);
  throw new SkeinError('THRESHOLD_UNMET', `not signed by enough keys yet: ${said.join('; ')}`, {
    fix: 'Have other holders run `skein keys sign FILE` on their machines; several copies may be published together.',
    data: { lacking },
  });
}

/** Which of `keys` may still sign what. */
export const signable = (
  draft: Draft,
  keys: readonly KeyInfo[],
): { document: DraftDocument; key: KeyInfo }[] =>
  draft.documents.flatMap((document) => {
    const named = new Set(authoritiesOf(draft, document).flatMap(({ role }) => role.keyids));
    const signed = new Set(document.signatures.map(({ keyid }) => keyid));
    return keys
      .filter(({ publicKey }) => named.has(keyIdOf(publicKey)) && !signed.has(keyIdOf(publicKey)))
      .map((key) => ({ document, key }));
  });

/** @throws SkeinError SIGNATURE_INVALID when it is none that counts */
export function withSignature(
  draft: Draft,
  kind: Kind,
  publicKey: string,
  sig: Uint8Array,
  read: ReadKey,
): Draft {
  const documents = draft.documents.map((document) => {
    if (document.kind !== kind) return document;
    const added = {
      ...document,
      signatures: [...document.signatures, { keyid: keyIdOf(publicKey), sig: bytesToHex(sig) }],
    };
    requireSound(draft, added, read);
    return added;
  });
  return { ...draft, documents };
}

/** Copies that holders signed apart from each other. @throws SkeinError CONFLICT when they are not of one draft */
export function mergeDrafts(a: Draft, b: Draft): Draft {
  const documents = a.documents.map((document) => {
    const other = b.documents.find(({ kind }) => kind === document.kind);
    if (
      !other ||
      !sameBytes(other.canonical, document.canonical) ||
      a.documents.length !== b.documents.length
    ) {
      throw new SkeinError('CONFLICT', 'the files hold different documents, not copies of one', {
        fix: 'Give only copies of one draft; signatures can not be moved to another.',
      });
    }
    const known = new Set(document.signatures.map(({ keyid }) => keyid));
    const more = other.signatures.filter(({ keyid }) => !known.has(keyid));
    return { ...document, signatures: [...document.signatures, ...more] };
  });
  return { ...a, documents };
}

function openOne(kind: Kind, signed: object, signatures: readonly Sig[]): DraftDocument {
  const type = kind === 'image-targets' ? 'targets' : 'root';
  requireThresholds(kind, signed);
  const bytes = encoder.encode(JSON.stringify({ signed, signatures }));
  const opened = openDocument(type, bytes, kind);
  const read = type === 'root' ? readRoot(opened, kind) : readTargets(opened, kind);
  return { kind, signed: read, canonical: opened.canonical, signatures };
}

/** Said before the schema does, because it is the one mistake that would let anybody sign. */
function requireThresholds(kind: Kind, signed: object): void {
  const { roles } = signed as { roles?: Record<string, Partial<TufRole>> };
  for (const [name, role] of Object.entries(roles ?? {})) {
    const { threshold, keyids } = role ?? {};
    if (typeof threshold === 'number' && Array.isArray(keyids)) {
      requireThreshold(`${kind}, role ${name}`, { threshold, keyids });
    }
  }
}

const openedOf = ({ canonical, signatures, signed }: DraftDocument): OpenedDocument => ({
  canonical,
  signed,
  signatures: [...signatures],
});

function chainOf(read: ReadKey, chain: readonly Uint8Array[], what: string): Root[] {
  const roots: Root[] = [];
  for (const bytes of chain) {
    const last = roots.at(-1);
    roots.push(last ? nextRoot(read, last, bytes, what) : loadRoot(read, bytes, what));
  }
  return roots;
}

function baseTargets(read: ReadKey, root: Root | undefined, bytes: Uint8Array): Targets {
  const opened = openDocument('targets', bytes, 'present targets');
  if (root) requireSigned(read, root.keys, root.roles.targets, opened, 'present targets');
  return readTargets(opened, 'present targets');
}

/** The next of its chain, keys each once, and only signatures that count. */
function requireSound(draft: Draft, document: DraftDocument, read: ReadKey): void {
  const { kind, signed } = document;
  const before =
    kind === 'image-targets'
      ? draft.targets
      : draft.chains[kind === 'image-root' ? 'image' : 'director'].at(-1);
  const first = (before?.version ?? 0) + 1;
  if (kind === 'image-targets' ? signed.version < first : signed.version !== first) {
    throw new SkeinError('METADATA_ROLLBACK', `${kind}: version ${signed.version} where ${first} must be`, {
      fix: 'Prepare it again from what is in force now.',
    });
  }
  if (kind !== 'image-targets') requireDistinct(signed as Root, kind, read);
  const named = authoritiesOf(draft, document);
  if (named.length === 0) {
    throw new SkeinError(
      'METADATA_INVALID',
      `${kind}: the file holds no root that says whose signature counts`,
    );
  }
  for (const one of document.signatures) {
    const alone = { ...openedOf(document), signatures: [one] };
    if (named.some(({ root, role }) => countSignatures(read, root.keys, role, alone) === 1)) continue;
    throw new SkeinError(
      'SIGNATURE_INVALID',
      `${kind}: a signature of key ${one.keyid.slice(0, 16)} does not count`,
      {
        fix: 'It is of a foreign key, or of another document. Ask for the file again and sign that.',
      },
    );
  }
}

/** One key under two ids would count once on devices: its holder would be missed when the threshold is needed. */
function requireDistinct(root: Root, what: string, read: ReadKey): void {
  for (const [name, role] of Object.entries(root.roles)) {
    const known = role.keyids.filter((id) => isRead(root.keys[id], read));
    if (publicKeys(read, root.keys, role).size === known.length) continue;
    throw new SkeinError(
      'KEY_DUPLICATE',
      `${what}: role ${name} names one key twice, or one under a wrong id`,
      {
        fix: 'Make the root again with a key of its own for each holder.',
      },
    );
  }
}

const isRead = (key: TufKey | undefined, read: ReadKey): boolean =>
  key !== undefined && read(key) !== undefined;
const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
