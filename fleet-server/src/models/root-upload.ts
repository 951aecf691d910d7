/** What a root must be before this server stores it: the next of its chain, fresh, and naming keys that are held here. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import type { Root } from '@skein/protocol/trust/metadata.ts';
import { loadRoot, nextRoot, requireFresh, rotated, type TopRole } from '@skein/protocol/trust/root-chain.ts';
import { publicKeys, type ReadKey } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { NAMED_ROLES, namedAt, type OnlineKeyring, requireSigner } from './online-keys.ts';

interface RootContext {
  keys: ReadKey;
  online: OnlineKeyring;
  now: Millis;
}

/** @throws SkeinError METADATA_*, SIGNATURE_INVALID, KEYS_INVALID, THRESHOLD_INVALID */
export function checkRoot(
  repo: Repo,
  bytes: Uint8Array,
  last: { bytes: Uint8Array } | undefined,
  { keys, online, now }: RootContext,
): Root {
  const what = `${repo} root`;
  const root = last
    ? nextRoot(keys, loadRoot(keys, last.bytes, what), bytes, what)
    : loadRoot(keys, bytes, what);
  requireFresh(root, now, what);
  requireReachable(keys, root, what);
  for (const role of NAMED_ROLES) if (namedAt(role).repo === repo) requireSigner(online, role, root, keys);
  return root;
}

/** A threshold that its keys can never meet would end the chain, or the role, for good. */
function requireReachable(keys: ReadKey, root: Root, what: string): void {
  for (const [role, holders] of Object.entries(root.roles)) {
    const usable = publicKeys(keys, root.keys, holders).size;
    if (usable >= holders.threshold) continue;
    throw new SkeinError(
      'THRESHOLD_INVALID',
      `${what}: role ${role} needs ${holders.threshold} keys and names ${usable}`,
      { fix: 'Make the root again with a threshold of at most the number of its keys.' },
    );
  }
}

/** Roles whose keys the new root withdraws, as devices see it (TUF 1.0.34, clause 5.3.11). */
export function withdrawnBy(keys: ReadKey, lastBytes: Uint8Array, root: Root): Exclude<TopRole, 'root'>[] {
  const before = loadRoot(keys, lastBytes, 'stored root');
  return (['targets', 'snapshot', 'timestamp'] as const).filter((role) => rotated(keys, before, root, role));
}

/** 5.3.11: with the timestamp's or snapshot's key go the versions that they vouched for, those of targets included. */
export const forgetsVersions = (withdrawn: readonly TopRole[]): boolean =>
  withdrawn.includes('timestamp') || withdrawn.includes('snapshot');
