/**
 * Turns verified metadata into what the device may do: each order agreed or refused with its reason. Delegated
 * roles that a search asks for are taken from `documents`, where the refresh left them.
 */
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Documents } from '@skein/protocol/trust/client-workflow.ts';
import { searchTarget } from '@skein/protocol/trust/delegations.ts';
import {
  type Agreement,
  agree,
  type DirectorDocument,
  isRefusal,
  type Refusal,
  type ReleaseFloors,
  raiseFloors,
} from '@skein/protocol/trust/director.ts';
import type { TargetFile, Targets } from '@skein/protocol/trust/metadata.ts';
import { revokedIn } from '@skein/protocol/trust/revocation.ts';
import type { TrustedSet } from '@skein/protocol/trust/trusted-set.ts';

export interface ImageSide {
  set: TrustedSet;
  targets: Targets;
  documents: Documents;
  /** Why the search for a path ended, when a role on its way could not be fetched or verified (clause 5.6.7). */
  failures?: ReadonlyMap<string, SkeinError>;
}

export interface Outcome {
  agreed: Agreement[];
  refused: Refusal[];
  floors: ReleaseFloors;
}

/** The signed target of `path`. @throws SkeinError when a role on the way is not here or does not verify */
export function findStored(image: ImageSide, path: string): TargetFile | undefined {
  const failure = image.failures?.get(path);
  if (failure) throw failure;
  const search = searchTarget(image.targets, path);
  let step = search.next();
  while (!step.done) {
    const { role, delegator } = step.value;
    const bytes = image.documents.get(role) ?? new Uint8Array();
    step = search.next(image.set.readTargets(bytes, role, delegator));
  }
  return step.value;
}

/** Floors are raised by every signed target seen, before any order is held against them. */
export function settle(
  image: ImageSide,
  director: DirectorDocument,
  hardwareTags: readonly string[],
  before: ReleaseFloors,
): Outcome {
  const found = director.orders.orders.map((order) => ({ order, ...lookUp(image, order) }));
  const floors = found.reduce<ReleaseFloors>(
    (sum, { path, file }) => (file ? raiseFloors(sum, { [path]: file }) : sum),
    raiseFloors(before, image.targets.targets),
  );
  const outcomes = found.map(({ order, path, file, refusal }) => {
    const named = Object.hasOwn(director.targets, path) ? director.targets[path] : undefined;
    return refusal ?? agree(order, named, file, hardwareTags, floors);
  });
  return {
    agreed: outcomes.filter((outcome): outcome is Agreement => !isRefusal(outcome)),
    refused: outcomes.filter(isRefusal),
    floors,
  };
}

/** A version that is not listed is refused in any case; one that was listed once is called by its name. */
function revocationOf(image: ImageSide, order: Order): Refusal | undefined {
  const { model, version } = order;
  const said = revokedIn(image.targets).find((r) => r.model === model && r.version === version);
  const message = `${model}@${version} was withdrawn by offline keys${said?.reason ? `: ${said.reason}` : ''}`;
  return said && { order, code: 'MODEL_REVOKED', message, final: true };
}

function lookUp(image: ImageSide, order: Order): { path: string; file?: TargetFile; refusal?: Refusal } {
  const path = manifestPath(order.model, order.version);
  try {
    const file = findStored(image, path);
    const revoked = file ? undefined : revocationOf(image, order);
    return { path, ...(file ? { file } : {}), ...(revoked ? { refusal: revoked } : {}) };
  } catch (thrown) {
    const { code, message } = asSkeinError(thrown);
    return { path, refusal: { order, code, message } };
  }
}
