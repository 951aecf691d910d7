/**
 * Turns verified metadata into what the device may do: each order agreed or refused with its reason. Delegated
 * roles that the search asks for are taken from `documents`; the first that is missing is named, so that a caller
 * with a network can fetch it and ask again.
 */
import { asSkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Order } from '@skein/protocol/orders.ts';
import { type RoleWanted, searchTarget } from '@skein/protocol/trust/delegations.ts';
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
import type { TrustedSet } from '@skein/protocol/trust/trusted-set.ts';

export interface ImageSide {
  set: TrustedSet;
  targets: Targets;
  documents: Readonly<Record<string, Uint8Array>>;
}

export interface Outcome {
  agreed: Agreement[];
  refused: Refusal[];
  floors: ReleaseFloors;
}

/** The signed target of `path`, or the delegated role that must be fetched first. @throws SkeinError when a role on the way does not verify */
export function findTarget(image: ImageSide, path: string): { file?: TargetFile; missing?: RoleWanted } {
  const search = searchTarget(image.targets, path);
  let step = search.next();
  while (!step.done) {
    const { role, delegator } = step.value;
    const bytes = image.documents[role];
    if (!bytes) return { missing: step.value };
    step = search.next(image.set.readTargets(bytes, role, delegator));
  }
  return step.value ? { file: step.value } : {};
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

function lookUp(image: ImageSide, order: Order): { path: string; file?: TargetFile; refusal?: Refusal } {
  const path = manifestPath(order.model, order.version);
  try {
    const { file } = findTarget(image, path);
    return file ? { path, file } : { path };
  } catch (thrown) {
    const { code, message } = asSkeinError(thrown);
    return { path, refusal: { order, code, message } };
  }
}
