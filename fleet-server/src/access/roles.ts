/** Who may do what. Roles are ordered: each may do all that the ones before it may. */
import { ROLES, type Role, type Route } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';

export const isRole = (text: string): text is Role => (ROLES as readonly string[]).includes(text);

export const roleAllows = (role: Role, least: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(least);

/** @throws SkeinError UNAUTHENTICATED (nobody), FORBIDDEN (somebody, but not enough) */
export function checkRole(actor: { name: string; role: Role } | undefined, least: Route['role']): void {
  if (least === 'anyone' || least === 'device') return;
  if (!actor) {
    throw new SkeinError('UNAUTHENTICATED', 'this needs an API key or a login', {
      fix: 'Open the link that `skein login` prints, or send `Authorization: Bearer <key>`.',
    });
  }
  if (roleAllows(actor.role, least)) return;
  throw new SkeinError('FORBIDDEN', `${actor.name} is ${actor.role}; this needs ${least}`, {
    fix: `Use a key with the role ${least} or above.`,
  });
}
