/**
 * The line of roots (TUF 1.0.34, clause 5.3), for the image repository and the director alike: from the pinned
 * root each next version must be signed by a threshold of the keys of the one before and of its own.
 */
import { SkeinError } from '../errors.ts';
import type { Millis } from '../units.ts';
import { expiresAt, openDocument, type Root, readRoot } from './metadata.ts';
import { type KeyVerify, publicKeys, requireThreshold } from './signatures.ts';

export type TopRole = 'root' | 'timestamp' | 'snapshot' | 'targets';

/** Versions fetched in one refresh (clause 5.3.3, "Y"). */
export const MAX_ROOT_STEPS = 1024;

/** A root that is trusted because it was pinned or stored; its own threshold still guards against torn bytes. */
export function loadRoot(verify: KeyVerify, bytes: Uint8Array, what: string): Root {
  const opened = openDocument('root', bytes, what);
  const root = readRoot(opened, what);
  requireThreshold(verify, root.keys, root.roles.root, opened, what);
  return root;
}

/** Clauses 5.3.4 to 5.3.7. @throws SkeinError METADATA_INVALID, SIGNATURE_INVALID, METADATA_ROLLBACK */
export function nextRoot(verify: KeyVerify, trusted: Root, bytes: Uint8Array, what: string): Root {
  const opened = openDocument('root', bytes, what);
  // 5.3.4 (1): a threshold of the keys of version N, before anything of N+1 is read.
  requireThreshold(verify, trusted.keys, trusted.roles.root, opened, what);
  const root = readRoot(opened, what);
  // 5.3.4 (2): a threshold of its own keys.
  requireThreshold(verify, root.keys, root.roles.root, opened, what);
  // 5.3.5: exactly the next version.
  if (root.version !== trusted.version + 1) {
    throw new SkeinError(
      'METADATA_ROLLBACK',
      `${what}: version ${root.version} where ${trusted.version + 1} must be`,
    );
  }
  return root;
}

/** @throws SkeinError METADATA_EXPIRED */
export function requireFresh(signed: { expires: string }, now: Millis, what: string): void {
  if (expiresAt(signed) > now) return;
  throw new SkeinError('METADATA_EXPIRED', `${what}: expired at ${signed.expires}`, {
    fix: 'Have it signed again, and check that this machine’s clock is right.',
  });
}

/**
 * Clause 5.3.11: were keys of this role withdrawn? Then what they signed counts no more, also as a floor. A key
 * that was only added withdraws nothing; a raised threshold withdraws what too few keys could sign.
 */
export function rotated(before: Root, after: Root, role: TopRole): boolean {
  const still = publicKeys(after.keys, after.roles[role]);
  const lost = [...publicKeys(before.keys, before.roles[role])].some((key) => !still.has(key));
  return lost || after.roles[role].threshold > before.roles[role].threshold;
}
