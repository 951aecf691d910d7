/**
 * The director's word to one device: an offline-signed root and one targets document, signed by the online key
 * that the root's `targets` role names. `custom.skein` is the JSON *text* of {@link DirectorOrders}: canonical JSON
 * has no fractions, and probation limits are fractions.
 *
 * Whoever holds the online key can only choose: what is installed must also be in the image repository, for this
 * hardware, and at or above the release floor, which only the image repository's offline keys raise.
 */
import { type ErrorCode, SkeinError } from '../errors.ts';
import { manifestPath } from '../manifest.ts';
import { DirectorOrders, ModelTarget, type Order } from '../orders.ts';
import { checker } from '../schema.ts';
import type { Bytes, Millis, Sha256Hex } from '../units.ts';
import { dateOf, expiresAt, openDocument, type Root, readTargets, type TargetFile } from './metadata.ts';
import { requireFresh } from './root-chain.ts';
import { type ReadKey, requireThreshold } from './signatures.ts';
import { SPEC_VERSION } from './signing.ts';

const encoder = new TextEncoder();
const orders = checker(DirectorOrders, 'METADATA_INVALID', 256 * 1024);
const modelTarget = checker(ModelTarget, 'METADATA_INVALID');

export interface DirectorDocument {
  version: number;
  expiresAt: Millis;
  orders: DirectorOrders;
  /** Manifest path → the bytes that the director means. */
  targets: Readonly<Record<string, TargetFile>>;
}

/** Release floors: model id → the smallest release that may run. Only signed image targets raise them. */
export type ReleaseFloors = Readonly<Record<string, number>>;

export interface Agreement {
  order: Order;
  target: { path: string; sizeBytes: Bytes; sha256: Sha256Hex };
  custom: ModelTarget;
}

export interface Refusal {
  order: Order;
  code: ErrorCode;
  message: string;
  /** Both sides were verified and agree on it: no later refresh mends this order. */
  final?: true;
}

/** The `signed` part that {@link readDirector} reads. */
export function directorSigned(document: DirectorDocument): object {
  return {
    _type: 'targets',
    spec_version: SPEC_VERSION,
    version: document.version,
    expires: dateOf(document.expiresAt),
    targets: document.targets,
    custom: { skein: JSON.stringify(document.orders) },
  };
}

export interface DirectorContext {
  keys: ReadKey;
  root: Root;
  device: string;
  /** Highest version trusted under this root's key. */
  floor: number;
  now: Millis;
}

/** @throws SkeinError METADATA_INVALID, SIGNATURE_INVALID, METADATA_ROLLBACK, METADATA_EXPIRED, METADATA_DISAGREES */
export function readDirector(bytes: Uint8Array, context: DirectorContext): DirectorDocument {
  const what = 'director document';
  const opened = openDocument('targets', bytes, what);
  const { root } = context;
  // As 5.6.3: signed by a threshold of the director root's targets keys, before anything of it is read.
  requireThreshold(context.keys, root.keys, root.roles.targets, opened, what);
  const signed = readTargets(opened, what);
  const said = readOrders(signed.custom, what);
  if (said.device !== context.device) {
    throw new SkeinError('METADATA_DISAGREES', `${what}: made for ${said.device}, this is ${context.device}`);
  }
  // As 5.4.3.1: there is no timestamp here, so the document itself may not go back.
  if (signed.version < context.floor) {
    throw new SkeinError(
      'METADATA_ROLLBACK',
      `${what}: version ${signed.version} after version ${context.floor} was trusted`,
    );
  }
  // As 5.6.5: not expired.
  requireFresh(signed, context.now, what);
  return { version: signed.version, expiresAt: expiresAt(signed), orders: said, targets: signed.targets };
}

function readOrders(custom: unknown, what: string): DirectorOrders {
  const text = (custom as { skein?: unknown } | undefined)?.skein;
  if (typeof text !== 'string') throw new SkeinError('METADATA_INVALID', `${what}: custom.skein is missing`);
  const said = orders.parse(encoder.encode(text), what);
  if (new Set(said.orders.map((order) => order.model)).size !== said.orders.length) {
    throw new SkeinError('METADATA_INVALID', `${what}: two orders for one model`);
  }
  return said;
}

/** May this order be carried out here? Each reason to refuse has its own code. */
export function agree(
  order: Order,
  director: TargetFile | undefined,
  image: TargetFile | undefined,
  hardwareTags: readonly string[],
  floors: ReleaseFloors,
): Agreement | Refusal {
  const refuse = (code: ErrorCode, message: string): Refusal => ({ order, code, message, final: true });
  const name = `${order.model}@${order.version}`;
  // 5.7.2: nobody speaks of it.
  if (!image) return refuse('METADATA_DISAGREES', `${name} is not among the models that offline keys signed`);
  if (!director || !sameFile(director, image)) {
    return refuse('METADATA_DISAGREES', `director and image repository name different bytes for ${name}`);
  }
  const custom = readModelTarget(manifestPath(order.model, order.version), image);
  if (!custom)
    return { order, code: 'METADATA_INVALID', message: `${name}: the signed target is not a Skein model` };
  const missing = custom.tags.filter((tag) => !hardwareTags.includes(tag));
  if (missing.length > 0) {
    return refuse('HARDWARE_MISMATCH', `${name} needs ${missing.join(', ')}, which this device has not`);
  }
  const floor = Object.hasOwn(floors, order.model) ? floors[order.model]! : 0;
  if (custom.release < floor) {
    return refuse('BELOW_FLOOR', `${name} is release ${custom.release}, the signed floor is ${floor}`);
  }
  const path = manifestPath(order.model, order.version);
  return { order, custom, target: { path, sizeBytes: image.length, sha256: image.hashes.sha256! } };
}

export const isRefusal = (outcome: Agreement | Refusal): outcome is Refusal => 'code' in outcome;

/** Floors raised by signed targets; a target speaks only for the model whose manifest path it has. */
export function raiseFloors(
  floors: ReleaseFloors,
  targets: Readonly<Record<string, TargetFile>>,
): ReleaseFloors {
  const raised = new Map(Object.entries(floors));
  for (const [path, file] of Object.entries(targets)) {
    const custom = readModelTarget(path, file);
    if (custom) raised.set(custom.model, Math.max(custom.floor, raised.get(custom.model) ?? 0));
  }
  return Object.fromEntries(raised);
}

/** What a signed target says about itself; undefined when it is not a model's manifest under its own path. */
export function readModelTarget(path: string, file: TargetFile): ModelTarget | undefined {
  try {
    const custom = modelTarget.check(file.custom, path);
    return manifestPath(custom.model, custom.version) === path ? custom : undefined;
  } catch {
    return undefined;
  }
}

/** Same length, and every hash that both name is equal; SHA-256 is always one of them. */
function sameFile(a: TargetFile, b: TargetFile): boolean {
  const shared = Object.keys(a.hashes).filter((name) => Object.hasOwn(b.hashes, name));
  return (
    a.length === b.length &&
    shared.includes('sha256') &&
    shared.every((name) => a.hashes[name] === b.hashes[name])
  );
}
