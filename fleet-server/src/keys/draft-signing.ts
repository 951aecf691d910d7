/** Signatures on a draft: who may still give one, adding it, putting copies together, and whether it is enough. */
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Root } from '@skein/protocol/trust/metadata.ts';
import { countSignatures, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { keyIdOf } from '@skein/protocol/trust/signing.ts';
import {
  authoritiesOf,
  type Draft,
  type DraftDocument,
  type Kind,
  openedOf,
  requireSound,
} from './draft-checks.ts';
import { holdersOf } from './root-plan.ts';
import type { KeyInfo } from './token.ts';

export interface Progress {
  kind: Kind;
  what: string;
  have: number;
  need: number;
  /** Who has not signed yet and may: names, or beginnings of public keys. */
  open: string[];
}

export const progressOf = (draft: Draft, read: ReadKey): Progress[] =>
  draft.documents.flatMap((document) =>
    authoritiesOf(draft, document).map(({ what, root, role }) => {
      const have = countSignatures(read, root.keys, role, openedOf(document));
      const signed = new Set(document.signatures.map(({ keyid }) => keyid));
      const open = role.keyids.filter((id) => !signed.has(id)).map((id) => whose(root, id));
      return { kind: document.kind, what, have, need: role.threshold, open };
    }),
  );

const whose = (root: Root, id: string): string =>
  holdersOf(root)[id] ?? (root.keys[id]?.keyval.public ?? id).slice(0, 16);

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

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
