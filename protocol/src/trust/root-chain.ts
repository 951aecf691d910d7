/**
 * The line of roots (TUF 1.0.34, clause 5.3), for the image repository and the director alike: from the pinned
 * root each next version must be signed by a threshold of the keys of the one before and of its own.
 */
import { SkeinError } from '../errors.ts';
import type { Millis } from '../units.ts';
import { expiresAt, openDocument, type Root, readRoot } from './metadata.ts';
import { publicKeys, type ReadKey, requireThreshold } from './signatures.ts';

export const TOP_ROLES = ['root', 'timestamp', 'snapshot', 'targets'] as const;
export type TopRole = (typeof TOP_ROLES)[number];

/** Versions fetched in one refresh (clause 5.3.3, "Y"). */
export const MAX_ROOT_STEPS = 1024;

/**
 * Clause 5.2: a root that is trusted because it was pinned or stored; its own threshold still guards against torn
 * bytes. Its expiry does not matter yet.
 */
export function loadRoot(read: ReadKey, bytes: Uint8Array, what: string): Root {
  const opened = openDocument('root', bytes, what);
  const root = readRoot(opened, what);
  requireThreshold(read, root.keys, root.roles.root, opened, what);
  return root;
}

/** Clause 5.2 after a power cut: the last root, or the pinned one when the last is torn. @throws SkeinError when both are */
export function loadIntactRoot(
  read: ReadKey,
  last: Uint8Array,
  pinned: Uint8Array,
  what: string,
): { parsed: Root; bytes: Uint8Array } {
  try {
    return { parsed: loadRoot(read, last, what), bytes: last };
  } catch {
    return { parsed: loadRoot(read, pinned, `pinned ${what}`), bytes: pinned };
  }
}

/** Clauses 5.3.4 to 5.3.7. @throws SkeinError METADATA_INVALID, SIGNATURE_INVALID, METADATA_ROLLBACK */
export function nextRoot(read: ReadKey, trusted: Root, bytes: Uint8Array, what: string): Root {
  const opened = openDocument('root', bytes, what);
  // 5.3.4 (1): a threshold of the keys of version N, before anything of N+1 is read.
  requireThreshold(read, trusted.keys, trusted.roles.root, opened, what);
  const root = readRoot(opened, what);
  // 5.3.4 (2): a threshold of its own keys.
  requireThreshold(read, root.keys, root.roles.root, opened, what);
  // 5.3.5: exactly the next version.
  if (root.version !== trusted.version + 1) {
    throw new SkeinError(
      'METADATA_ROLLBACK',
      `${what}: version ${root.version} where ${trusted.version + 1} must be`,
    );
  }
  // 5.3.6: whether it has expired is asked of the last one only (5.3.10). 5.3.7: the caller trusts it from here on.
  return root;
}

/** Clauses 5.3.10, 5.4.4, 5.5.6, 5.6.5: expiry is later than the update's start. @throws SkeinError METADATA_EXPIRED */
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
export function rotated(read: ReadKey, before: Root, after: Root, role: TopRole): boolean {
  const still = publicKeys(read, after.keys, after.roles[role]);
  const lost = [...publicKeys(read, before.keys, before.roles[role])].some((key) => !still.has(key));
  return lost || after.roles[role].threshold > before.roles[role].threshold;
}
