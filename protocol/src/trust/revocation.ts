/**
 * What offline keys have withdrawn. A version that the signed targets no longer list is revoked; the list in
 * `custom.skein.revoked` says so in words, so that a device can tell why. It is read leniently: absence alone decides.
 */
import { type Static, Type } from 'typebox';
import { MODEL_NAME_PATTERN, VERSION_PATTERN } from '../manifest.ts';
import { checker, strict } from '../schema.ts';
import type { Targets } from './metadata.ts';

export const Revoked = strict({
  model: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  /** Never given again. */
  release: Type.Integer({ minimum: 1 }),
  floor: Type.Integer({ minimum: 0 }),
  reason: Type.String({ maxLength: 200 }),
});
export type Revoked = Static<typeof Revoked>;

const Said = Type.Object({ skein: Type.Object({ revoked: Type.Array(Revoked, { maxItems: 4096 }) }) });
const said = checker(Said, 'METADATA_INVALID');

/** Oldest first. */
export function revokedIn(targets: Targets): readonly Revoked[] {
  if (targets.custom === undefined) return [];
  try {
    return said.check(targets.custom, 'revoked models').skein.revoked;
  } catch {
    return [];
  }
}
