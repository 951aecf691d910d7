/**
 * What a holder is shown before a signature is given, and what is refused whatever the holder says: a document that
 * goes back behind what this machine has seen, or that follows other roots than the one pinned here.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import { canonicalJson } from '@skein/protocol/trust/canonical-json.ts';
import { readModelTarget } from '@skein/protocol/trust/director.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import type { Root, Targets } from '@skein/protocol/trust/metadata.ts';
import { TOP_ROLES } from '@skein/protocol/trust/root-chain.ts';
import type { Draft, DraftDocument } from './draft-checks.ts';
import { holdersOf } from './root-plan.ts';

/** What this machine has seen before, verified when it was pinned. */
export interface Pins {
  image: Root | undefined;
  director: Root | undefined;
  targets: Targets | undefined;
}

/** For two people to read to each other: the same for the same content, whoever signed it. */
export const fingerprintOf = (signed: object): string => sha256Hex(canonicalJson(signed));

/** @throws SkeinError SERVER_NOT_TRUSTED, METADATA_ROLLBACK */
export function requirePinned(draft: Draft, pins: Pins): void {
  for (const repo of ['image', 'director'] as const) requireChain(draft, repo, pins[repo]);
  requireSeen(draft, pins.targets);
  const targets = draft.documents.find(({ kind }) => kind === 'image-targets');
  if (!targets || !pins.targets || targets.signed.version > pins.targets.version) return;
  if (fingerprintOf(targets.signed) === fingerprintOf(pins.targets)) return;
  throw new SkeinError(
    'METADATA_ROLLBACK',
    `image targets: version ${targets.signed.version} after version ${pins.targets.version} was seen here`,
    { fix: 'Prepare it again from the latest targets, on a machine that reaches the server.' },
  );
}

/** Changes are shown against the list in the file: an old one would hide that something revoked comes back. */
function requireSeen({ targets }: Draft, pinned: Targets | undefined): void {
  if (!targets || !pinned || targets.version >= pinned.version) return;
  throw new SkeinError(
    'METADATA_ROLLBACK',
    `image targets: the file goes from version ${targets.version}, but ${pinned.version} was seen here`,
    { fix: 'Prepare it again from the latest targets, on a machine that reaches the server.' },
  );
}

function requireChain(draft: Draft, repo: Repo, pin: Root | undefined): void {
  if (!pin) return;
  const next = draft.documents.find(({ kind }) => kind === `${repo}-root`)?.signed as Root | undefined;
  const line = next ? [...draft.chains[repo], next] : draft.chains[repo];
  if (line.length === 0) return;
  const same = line.find(({ version }) => version === pin.version);
  if (same && fingerprintOf(same) === fingerprintOf(pin)) return;
  const last = draft.chains[repo].at(-1);
  if (last && last.version < pin.version) {
    throw new SkeinError(
      'METADATA_ROLLBACK',
      `${repo} root: the file follows version ${last.version}, but ${pin.version} was seen here`,
      { fix: 'Another change was faster. Prepare this one again from the root that is in force.' },
    );
  }
  throw new SkeinError('SERVER_NOT_TRUSTED', `${repo} root: the file does not follow the root pinned here`, {
    fix: 'Sign nothing of it. Find out who made the file, and whether this folder (--dir) is of the same fleet.',
  });
}

/** Lines for people, most important first. */
export const describeDraft = (draft: Draft): string[] =>
  draft.documents
    .flatMap((document) => [
      ...describeOne(draft, document),
      `  fingerprint ${fingerprintOf(document.signed)}`,
    ])
    .map(visible);

/** The file is somebody else's: nothing in it may move the cursor, hide, or turn text around. */
const visible = (line: string): string => line.replace(/\p{C}/gu, '·');

function describeOne(draft: Draft, { kind, signed }: DraftDocument): string[] {
  if (kind === 'image-targets') return describeTargets(draft.targets, signed as Targets);
  const repo = kind === 'image-root' ? 'image' : 'director';
  return describeRoot(draft.chains[repo].at(-1), signed as Root, kind);
}

const until = ({ expires }: { expires: string }): string => `until ${expires.slice(0, 10)}`;
const versions = (before: { version: number } | undefined, after: { version: number }): string =>
  before ? `version ${before.version} → ${after.version}` : `version ${after.version}, the first`;

function describeRoot(before: Root | undefined, after: Root, kind: string): string[] {
  const lines = [`${kind} ${versions(before, after)}, ${until(after)}`];
  for (const role of TOP_ROLES) {
    const [old, now] = [before?.roles[role], after.roles[role]];
    const gone = (old?.keyids ?? [])
      .filter((id) => !now.keyids.includes(id))
      .map((id) => `  - ${role} ${keyLine(before!, id)}`);
    const added = now.keyids
      .filter((id) => !old?.keyids.includes(id))
      .map((id) => `  + ${role} ${keyLine(after, id)}`);
    const changed = gone.length + added.length > 0 || old?.threshold !== now.threshold;
    if (!changed) continue;
    const from = old && old.threshold !== now.threshold ? ` (before: ${old.threshold})` : '';
    lines.push(`  ${role}: ${now.threshold} of ${now.keyids.length} must sign${from}`, ...gone, ...added);
  }
  return lines.length > 1 ? lines : [...lines, '  the same keys and thresholds'];
}

function keyLine(root: Root, id: string): string {
  const name = holdersOf(root)[id];
  return `${root.keys[id]?.keyval.public ?? id}${name ? ` (${name})` : ''}`;
}

function describeTargets(before: Targets | undefined, after: Targets): string[] {
  const [old, now] = [before?.targets ?? {}, after.targets];
  const added = Object.entries(now).flatMap(([path, file]) => {
    const model = readModelTarget(path, file);
    const was = old[path];
    if (was && fingerprintOf(was) === fingerprintOf(file)) return [];
    const name = model
      ? `${model.model}@${model.version} release ${model.release}, floor ${model.floor}`
      : path;
    return [`  ${was ? '~' : '+'} ${name}, manifest ${file.hashes.sha256 ?? 'of no known hash'}`];
  });
  const gone = Object.keys(old).filter((path) => !Object.hasOwn(now, path));
  const lines = [
    ...added,
    ...gone.map((path) => `  - ${path.replace(/^models\/(.+)\/([^/]+)\/manifest\.json$/, '$1@$2')} revoked`),
  ];
  const head = `image-targets ${versions(before, after)}, ${until(after)}`;
  return [head, ...(lines.length > 0 ? lines : [before ? '  the same models' : '  no model yet'])];
}
