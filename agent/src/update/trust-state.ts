/**
 * What a device remembers about trust. The *guarded* part (pins, roots, floors, times) must survive anything, so it
 * is kept twice and carries a checksum; documents are a cache, verified again whenever they are loaded.
 *
 * Guarded text: JSON `{sequence, state, sum}`, byte strings in base64, `sum` = SHA-256 over `sequence` and `state`.
 * Of two intact copies the one with the higher sequence is believed.
 */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { checker, recordOf, strict } from '@skein/protocol/schema.ts';
import { sha256Hex } from '@skein/protocol/sha256.ts';
import type { ReleaseFloors } from '@skein/protocol/trust/director.ts';
import { type ImageFloors, NO_FLOORS } from '@skein/protocol/trust/trusted-set.ts';
import { type Bytes, MIB, type Millis } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import type { InstalledVersion, SpokenAgainst } from './ports.ts';

export interface DirectorFloors {
  root: number;
  /** Highest version of this device's document under the root's key. */
  version: number;
}

export interface GuardedState {
  /** Roots as enrolment pinned them: where the chain is walked from when a later root is torn. */
  pins: { image: Uint8Array; director: Uint8Array };
  image: { root: Uint8Array; floors: ImageFloors };
  director: { root: Uint8Array; floors: DirectorFloors };
  releaseFloors: ReleaseFloors;
  /** Latest time at which everything was signed and unexpired; the clock may not fall behind it. */
  highestTimeAt: Millis;
  /** Wall time of the last complete refresh; 0 before the first. */
  refreshedAt: Millis;
}

export interface TrustState extends GuardedState {
  /** Image documents by role (`timestamp`, `snapshot`, `targets`, delegated roles). */
  documents: { image: Readonly<Record<string, Uint8Array>>; director?: Uint8Array };
}

/** What a state says against the versions that were installed when it was committed. */
export interface Judged extends SpokenAgainst {
  installed: readonly InstalledVersion[];
}

/** Durable trust state. `commit` and `pin` are each one transaction: all of it or nothing. */
export interface TrustStore {
  /** undefined: nothing was ever pinned, or both copies are destroyed. */
  load(): TrustState | undefined;
  /** @param judged kept until the next commit */
  commit(state: TrustState, judged?: Judged): void;
  /** What came with the last commit. undefined: nothing did, or what is kept is not whole. */
  judged(): Judged | undefined;
  /** Begins anew with the roots that enrolment vouches for; forgets everything else. */
  pin(imageRoot: Uint8Array, directorRoot: Uint8Array): void;
}

export const pinnedState = (image: Uint8Array, director: Uint8Array): TrustState => ({
  pins: { image, director },
  image: { root: image, floors: NO_FLOORS },
  director: { root: director, floors: { root: 0, version: 0 } },
  releaseFloors: {},
  highestTimeAt: 0,
  refreshedAt: 0,
  documents: { image: {} },
});

const count = Type.Integer({ minimum: 0 });
const counts = recordOf(count);
const base64 = Type.String();
const roots = strict({ image: base64, director: base64 });
const State = strict({
  pins: roots,
  roots,
  imageFloors: strict({ root: count, timestamp: count, snapshot: count, meta: counts }),
  directorFloors: strict({ root: count, version: count }),
  releaseFloors: counts,
  highestTimeAt: Type.Number(),
  refreshedAt: Type.Number(),
});
const Guarded = strict({ sequence: count, state: Type.String(), sum: Type.String() });

const encoder = new TextEncoder();
export const MAX_GUARDED_BYTES: Bytes = 16 * MIB;
const outer = checker(Guarded, 'DISK_FAILED', MAX_GUARDED_BYTES);
const inner = checker(State, 'DISK_FAILED', MAX_GUARDED_BYTES);
const sumOf = (sequence: number, state: string) => sha256Hex(encoder.encode(`${sequence}\n${state}`));

export function encodeGuarded(sequence: number, state: GuardedState): string {
  const plain: Static<typeof State> = {
    pins: { image: toBase64(state.pins.image), director: toBase64(state.pins.director) },
    roots: { image: toBase64(state.image.root), director: toBase64(state.director.root) },
    imageFloors: { ...state.image.floors, meta: { ...state.image.floors.meta } },
    directorFloors: state.director.floors,
    releaseFloors: { ...state.releaseFloors },
    highestTimeAt: state.highestTimeAt,
    refreshedAt: state.refreshedAt,
  };
  const text = JSON.stringify(plain);
  return JSON.stringify({ sequence, state: text, sum: sumOf(sequence, text) });
}

/** undefined when torn, truncated or edited. */
export function decodeGuarded(text: string): { sequence: number; state: GuardedState } | undefined {
  try {
    const { sequence, state, sum } = outer.parse(encoder.encode(text), 'trust state');
    if (sumOf(sequence, state) !== sum) return undefined;
    const plain = inner.parse(encoder.encode(state), 'trust state');
    return { sequence, state: fromPlain(plain) };
  } catch {
    return undefined;
  }
}

const fromPlain = (plain: Static<typeof State>): GuardedState => ({
  pins: { image: fromBase64(plain.pins.image), director: fromBase64(plain.pins.director) },
  image: { root: fromBase64(plain.roots.image), floors: plain.imageFloors },
  director: { root: fromBase64(plain.roots.director), floors: plain.directorFloors },
  releaseFloors: plain.releaseFloors,
  highestTimeAt: plain.highestTimeAt,
  refreshedAt: plain.refreshedAt,
});
