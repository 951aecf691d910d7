/**
 * What a document of a draft must be: the next of its chain, each key once, thresholds that can be met, and no signature
 * that would not count. Also who has to sign it.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
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
import { countSignatures, publicKeys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import { requireThreshold } from './root-plan.ts';

export const KINDS = ['image-root', 'director-root', 'image-targets'] as const;
export type Kind = (typeof KINDS)[number];

const encoder = new TextEncoder();
export type Sig = { keyid: string; sig: string };

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

export function openOne(kind: Kind, signed: object, signatures: readonly Sig[]): DraftDocument {
  const type = kind === 'image-targets' ? 'targets' : 'root';
  requireThresholds(kind, signed);
  const bytes = encoder.encode(JSON.stringify({ signed, signatures }));
  const opened = openDocument(type, bytes, kind);
  const read = type === 'root' ? readRoot(opened, kind) : readTargets(opened, kind);
  return { kind, signed: read, canonical: opened.canonical, signatures };
}

/** Said before the schema does, because it is the one mistake that would let anybody sign. */
function requireThresholds(kind: Kind, signed: object): void {
  const { roles } = (signed ?? {}) as { roles?: Record<string, Partial<TufRole>> };
  for (const [name, role] of Object.entries(roles ?? {})) {
    const { threshold, keyids } = role ?? {};
    if (typeof threshold === 'number' && Array.isArray(keyids)) {
      requireThreshold(`${kind}, role ${name}`, { threshold, keyids });
    }
  }
}

export const openedOf = ({ canonical, signatures, signed }: DraftDocument): OpenedDocument => ({
  canonical,
  signed,
  signatures: [...signatures],
});

/** The next of its chain, keys each once, and only signatures that count. */
export function requireSound(draft: Draft, document: DraftDocument, read: ReadKey): void {
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
