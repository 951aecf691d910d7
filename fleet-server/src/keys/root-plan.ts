/**
 * The next root out of the present one, as plain data: keys are added and taken away by role, everything else stays,
 * also what this version does not know. Key objects are carried as they are, so keys of other schemes survive.
 *
 * Invariants of every root made here: each role has as many keys as its threshold asks for, at least one; no key stands
 * twice in a role, whatever id it goes by.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { dateOf, type Root, type TufRole } from '@skein/protocol/trust/metadata.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';
import { keyIdOf, tufKey } from '@skein/protocol/trust/signing.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { isName, type KeyRole, placeOf } from './roles.ts';

/** A root with the names of its holders, which only people read; key id → name. */
export type NamedRoot = Root & { 'x-skein-holders'?: Record<string, string> };

export interface PublicKeyOf {
  publicKey: string;
  /** Whose it is. */
  name?: string;
}

/** Nobody checked what a signed root says here: only what could be a name is one. */
export function holdersOf(root: Root): Readonly<Record<string, string>> {
  const said: unknown = (root as NamedRoot)['x-skein-holders'];
  if (typeof said !== 'object' || said === null) return {};
  return Object.fromEntries(
    Object.entries(said).filter(([, name]: [string, unknown]) => typeof name === 'string' && isName(name)),
  );
}

/** @throws SkeinError KEY_DUPLICATE */
export function addKeys(root: Root, role: KeyRole, added: readonly PublicKeyOf[]): Root {
  const change = (holders: TufRole): TufRole => {
    const keyids = [...holders.keyids];
    for (const { publicKey, name } of added) {
      const id = keyIdOf(publicKey);
      if (keyids.includes(id)) throw duplicate(role, publicKey, name);
      keyids.push(id);
    }
    return { ...holders, keyids };
  };
  return changeRole(root, role, change, added);
}

/** @param keys public keys, key ids, their beginnings or holders' names @throws SkeinError NOT_FOUND, THRESHOLD_INVALID */
export function removeKeys(root: Root, role: KeyRole, keys: readonly string[]): Root {
  const gone = keys.map((key) => findKey(root, role, key));
  return changeRole(root, role, (holders) => ({
    ...holders,
    keyids: holders.keyids.filter((id) => !gone.includes(id)),
  }));
}

/** New keys in place of `old` ones (all when undefined). @throws SkeinError KEY_DUPLICATE, NOT_FOUND */
export function replaceKeys(
  root: Root,
  role: KeyRole,
  old: readonly string[] | undefined,
  added: readonly PublicKeyOf[],
): Root {
  const grown = addKeys(root, role, added);
  return removeKeys(grown, role, old ?? holdersIn(root, role).keyids);
}

/** @throws SkeinError THRESHOLD_INVALID */
export function withThreshold(root: Root, role: KeyRole, threshold: number): Root {
  return changeRole(root, role, (holders) => ({ ...holders, threshold }));
}

/** @throws SkeinError THRESHOLD_INVALID: checked at the end, so that keys and thresholds may change in any order */
export function nextRootOf(root: Root, expiresAt: Millis): Root {
  for (const [role, holders] of Object.entries(root.roles)) requireThreshold(role, holders);
  const used = new Set(Object.values(root.roles).flatMap((holders) => holders.keyids));
  const kept = <T>(table: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(table).filter(([id]) => used.has(id)));
  const names = kept(holdersOf(root));
  const { 'x-skein-holders': _, ...rest } = root as NamedRoot;
  return {
    ...rest,
    version: root.version + 1,
    expires: dateOf(expiresAt),
    keys: kept(root.keys),
    ...(Object.keys(names).length > 0 ? { 'x-skein-holders': names } : {}),
  } as Root;
}

export function requireThreshold(role: string, { keyids, threshold }: TufRole): void {
  if (Number.isSafeInteger(threshold) && threshold >= 1 && threshold <= keyids.length) return;
  throw new SkeinError(
    'THRESHOLD_INVALID',
    `${role}: a threshold of ${threshold} with ${keyids.length} keys`,
    {
      fix: `Give a --threshold from 1 to the number of keys; 0 would let anybody sign.`,
    },
  );
}

/** The key ids that a text means in a role: a name, or the beginning of a public key or key id (8 digits or more). */
export function findKey(root: Root, role: KeyRole, text: string): string {
  const names = holdersOf(root);
  const matches = holdersIn(root, role).keyids.filter((id) => {
    const begins = (hex: string | undefined) => text.length >= 8 && hex?.startsWith(text.toLowerCase());
    return names[id] === text || begins(id) || begins(root.keys[id]?.keyval.public);
  });
  if (matches.length === 1) return matches[0]!;
  throw new SkeinError('NOT_FOUND', `${matches.length} keys of role ${role} match ${text.slice(0, 80)}`, {
    fix: '`skein keys list` shows them; give a name, or at least 8 digits of the public key.',
  });
}

export const holdersIn = (root: Root, role: KeyRole): TufRole => root.roles[placeOf(role).roles[0]!];

/** The same change in every place of a role; keys that nobody needs any more are dropped at the end. */
function changeRole(
  root: Root,
  role: KeyRole,
  change: (holders: TufRole) => TufRole,
  added: readonly PublicKeyOf[] = [],
): Root {
  const roles = { ...root.roles };
  for (const top of placeOf(role).roles satisfies readonly TopRole[]) roles[top] = change(roles[top]);
  const keys = { ...root.keys };
  const names = { ...holdersOf(root) };
  for (const { publicKey, name } of added) {
    keys[keyIdOf(publicKey)] = tufKey(publicKey);
    if (name !== undefined) names[keyIdOf(publicKey)] = name;
  }
  return { ...root, roles, keys, 'x-skein-holders': names } as Root;
}

const duplicate = (role: string, publicKey: string, name?: string) =>
  new SkeinError(
    'KEY_DUPLICATE',
    `${name ?? 'the key'} ${publicKey.slice(0, 16)}… stands in role ${role} already`,
    { fix: 'A key counts once, whatever it is called; make another with `skein keys create`.' },
  );
