/**
 * A document on its way from holder to holder: what is to be signed, the signatures so far, and the roots that it
 * follows, so that a machine without a network can check whose signature counts and what would change.
 *
 * File: JSON, at most {@link MAX_DRAFT_BYTES}; `format` 1; `chains` are the roots in force, oldest first, at most
 * {@link MAX_CHAIN}; `targets` the list of models in force; `documents` at most one of each kind.
 * Opening verifies everything: chains root by root, each document as the next of its chain, each signature. A draft
 * that opens holds no signature that would not count, and no order of holders matters.
 */

import { SkeinError } from '@skein/protocol/errors.ts';
import { checker, oneOf, strict } from '@skein/protocol/schema.ts';
import { openDocument, type Root, readTargets, type Targets } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot } from '@skein/protocol/trust/root-chain.ts';
import { type ReadKey, requireThreshold } from '@skein/protocol/trust/signatures.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import {
  type Draft,
  type DraftDocument,
  type DraftParts,
  KINDS,
  openOne,
  requireSound,
  type Sig,
} from './draft-checks.ts';

export const MAX_DRAFT_BYTES: Bytes = 24 * 1024 * KIB;
export const MAX_CHAIN = 64;

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
  if (root) requireThreshold(read, root.keys, root.roles.targets, opened, 'present targets');
  return readTargets(opened, 'present targets');
}
