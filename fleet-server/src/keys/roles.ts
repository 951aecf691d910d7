/** Key roles as people name them, and where a root names their keys. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Repo } from '@skein/protocol/trust/expiry.ts';
import type { TopRole } from '@skein/protocol/trust/root-chain.ts';

/** Held by people, as files or in hardware. */
export const OFFLINE_ROLES = ['root', 'targets', 'director-root'] as const;
export type OfflineRole = (typeof OFFLINE_ROLES)[number];
/** Every role that a root gives keys to. */
export const KEY_ROLES = [...OFFLINE_ROLES, 'snapshot', 'timestamp', 'director'] as const;
export type KeyRole = (typeof KEY_ROLES)[number];

/** The director has no snapshot and timestamp (they would grow with the fleet); TUF wants the roles named. */
const PLACES: Readonly<Record<KeyRole, { repo: Repo; roles: readonly TopRole[] }>> = {
  root: { repo: 'image', roles: ['root'] },
  targets: { repo: 'image', roles: ['targets'] },
  snapshot: { repo: 'image', roles: ['snapshot'] },
  timestamp: { repo: 'image', roles: ['timestamp'] },
  'director-root': { repo: 'director', roles: ['root'] },
  director: { repo: 'director', roles: ['targets', 'snapshot', 'timestamp'] },
};
export const placeOf = (role: KeyRole) => PLACES[role];

export const isOffline = (role: string): role is OfflineRole => OFFLINE_ROLES.includes(role as OfflineRole);

/** @throws SkeinError REQUEST_INVALID */
export function roleNamed<T extends string>(text: string, roles: readonly T[]): T {
  const role = roles.find((known) => known === text);
  if (role) return role;
  throw new SkeinError('REQUEST_INVALID', `${JSON.stringify(text)} is not a role here`, {
    fix: `One of: ${roles.join(', ')}.`,
  });
}

export const isName = (text: string): boolean => NAME.test(text);
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

/**
 * Names of keys stand in file names and beside signatures that people compare by eye, so only what can not be mistaken
 * for anything else is taken: no capitals, no accents, no letters of other scripts that look alike.
 * @throws SkeinError NAME_INVALID
 */
export function requireName(text: string): string {
  if (isName(text)) return text;
  const shown = [...text.slice(0, 40)].map(plain).join('');
  throw new SkeinError('NAME_INVALID', `“${shown}” can not name a key`, {
    fix: 'Use lower-case letters a to z, digits and dashes, at most 32, such as alice or hsm-2.',
  });
}

/** What is not plain ASCII is shown by its number: it may be invisible, or turn the text around. */
function plain(character: string): string {
  if (/^[\x20-\x7e]$/.test(character)) return character;
  return `<U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}>`;
}
