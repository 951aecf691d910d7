/** Brings the director's root chain and this device's document up to date through the Fetcher port. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type DirectorDocument, readDirector } from '@skein/protocol/trust/director.ts';
import { MAX_BYTES, type Root } from '@skein/protocol/trust/metadata.ts';
import {
  loadIntactRoot,
  MAX_ROOT_STEPS,
  nextRoot,
  requireFresh,
  rotated,
} from '@skein/protocol/trust/root-chain.ts';
import type { ReadKey } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Fetcher } from './ports.ts';
import type { DirectorFloors, GuardedState } from './trust-state.ts';

export interface DirectorProgress {
  rootParsed: Root;
  root: Uint8Array;
  floors: DirectorFloors;
  document: Uint8Array | undefined;
  parsed: DirectorDocument | undefined;
}

export interface DirectorContext {
  keys: ReadKey;
  device: string;
  now: Millis;
}

export function startDirector(keys: ReadKey, { pins, director }: GuardedState): DirectorProgress {
  const root = loadIntactRoot(keys, director.root, pins.director, 'director root');
  const floors = { ...director.floors, root: Math.max(director.floors.root, root.parsed.version) };
  return { rootParsed: root.parsed, root: root.bytes, floors, document: undefined, parsed: undefined };
}

/** @throws SkeinError METADATA_*, SIGNATURE_INVALID, UNREACHABLE; `progress` then holds what had verified */
export async function refreshDirector(
  context: DirectorContext & { fetcher: Fetcher },
  progress: DirectorProgress,
): Promise<void> {
  const { fetcher } = context;
  // 5.3.3: version N + 1, until there is none or Y were taken; 5.3.9: again.
  for (let step = 0; step < MAX_ROOT_STEPS; step++) {
    const path = `/v1/director/${progress.rootParsed.version + 1}.root.json`;
    const bytes = await fetcher.document(path, MAX_BYTES.root);
    if (!bytes) break;
    advanceRoot(progress, bytes, context.keys);
  }
  // 5.3.10.
  requireNewest(progress);
  requireFresh(progress.rootParsed, context.now, 'director root');
  const bytes = await fetcher.document('/v1/director/targets.json', MAX_BYTES.targets);
  if (!bytes) throw new SkeinError('METADATA_INVALID', 'the director has no document for this device');
  const parsed = readStored(progress, bytes, context);
  Object.assign(progress, { parsed, document: bytes });
  progress.floors = { ...progress.floors, version: parsed.version };
}

/** Verifies `bytes` under the root and floor of `progress`. */
export const readStored = (
  { rootParsed, floors }: Pick<DirectorProgress, 'rootParsed' | 'floors'>,
  bytes: Uint8Array,
  context: DirectorContext,
): DirectorDocument => readDirector(bytes, { ...context, root: rootParsed, floor: floors.version });

/** As for the image root: a withdrawn key takes its document versions with it, once per rotation (clause 5.3.11). */
function advanceRoot(progress: DirectorProgress, bytes: Uint8Array, keys: ReadKey): void {
  const next = nextRoot(keys, progress.rootParsed, bytes, 'director root');
  if (next.version > progress.floors.root) {
    const withdrawn = rotated(keys, progress.rootParsed, next, 'targets');
    progress.floors = { root: next.version, version: withdrawn ? 0 : progress.floors.version };
  }
  progress.rootParsed = next;
  progress.root = bytes;
}

function requireNewest({ rootParsed, floors }: DirectorProgress): void {
  if (rootParsed.version >= floors.root) return;
  throw new SkeinError(
    'METADATA_ROLLBACK',
    `director root: version ${rootParsed.version} after version ${floors.root} was trusted`,
  );
}
