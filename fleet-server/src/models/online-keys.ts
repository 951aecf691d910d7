/**
 * The keys that a server holds. Which one of a role counts is said by the root that names it: a new key is made beside
 * the one in force (*staged*), and takes over in the very transaction that stores a root which names it, so no crash
 * leaves a server that signs with a key nobody believes. Acknowledgement keys are named by the director's documents,
 * which the server signs itself: a new one counts at once.
 */
import { bytesToHex } from '@noble/hashes/utils.js';
import type { OnlineKeys, OnlineRole } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import type { Root } from '@skein/protocol/trust/metadata.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';
import { publicKeys, type ReadKey } from '@skein/protocol/trust/signatures.ts';

/** Custody: at most two keys a role, the one in force and a staged one. */
export interface OnlineKeyring {
  /** Oldest first; never empty. */
  held(role: OnlineRole): readonly Signer[];
  /** Makes a key beside the one in force; one that is staged already is kept. Durable when it returns. */
  stage(role: OnlineRole): void;
  /** Forgets every key of the role but this one. */
  keepOnly(role: OnlineRole, publicHex: string): void;
}

/** Where a root names each of them. */
const NAMED_AT: Readonly<Record<Exclude<OnlineRole, 'ack'>, { repo: Repo; role: TopRole }>> = {
  snapshot: { repo: 'image', role: 'snapshot' },
  timestamp: { repo: 'image', role: 'timestamp' },
  director: { repo: 'director', role: 'targets' },
};
export type NamedRole = keyof typeof NAMED_AT;
export const NAMED_ROLES = Object.keys(NAMED_AT) as NamedRole[];
export const namedAt = (role: NamedRole) => NAMED_AT[role];

const hexOf = (signer: Signer): string => bytesToHex(signer.publicKey);

export const newestSigner = (ring: OnlineKeyring, role: OnlineRole): Signer => ring.held(role).at(-1)!;

/** What the next roots should name. */
export const newestKeys = (ring: OnlineKeyring): OnlineKeys => ({
  snapshot: hexOf(newestSigner(ring, 'snapshot')),
  timestamp: hexOf(newestSigner(ring, 'timestamp')),
  director: hexOf(newestSigner(ring, 'director')),
  ack: hexOf(newestSigner(ring, 'ack')),
});

/** undefined: the root names none that is held here, or wants more than one. */
export function signerNamed(
  ring: OnlineKeyring,
  role: NamedRole,
  root: Root,
  read: ReadKey,
): Signer | undefined {
  const holders = root.roles[NAMED_AT[role].role];
  const named = publicKeys(read, root.keys, holders);
  return holders.threshold === 1 ? ring.held(role).find((signer) => named.has(hexOf(signer))) : undefined;
}

/** @throws SkeinError KEYS_INVALID: a root that leaves out this server's key would make it mute */
export function requireSigner(ring: OnlineKeyring, role: NamedRole, root: Root, read: ReadKey): Signer {
  const signer = signerNamed(ring, role, root, read);
  if (signer) return signer;
  const { repo, role: named } = NAMED_AT[role];
  throw new SkeinError('KEYS_INVALID', `${repo} root: role ${named} does not name this server’s online key`, {
    fix: `Name the key that GET /v1/trust/online-keys shows: \`skein keys rotate --role ${role}\` does.`,
  });
}

/** Once a stored root names a staged key, the one before is of no use to anyone but a thief. */
export function settleKeys(ring: OnlineKeyring, roots: Readonly<Record<Repo, Root>>, read: ReadKey): void {
  for (const role of NAMED_ROLES) {
    const inForce = signerNamed(ring, role, roots[NAMED_AT[role].repo], read);
    if (inForce && inForce === ring.held(role)[1]) ring.keepOnly(role, hexOf(inForce));
  }
}
