/**
 * Finds the old file's bytes again in the new one where no structure helps: pieces of {@link WINDOW} bytes of the old
 * file are known by a hash, the new one is walked with the same hash, rolling. Pure.
 */
import type { Bytes } from '../units.ts';

export const WINDOW: Bytes = 32;
const BASE = 0x01000193;
/** Table entries; of old files with more pieces only every nth is known. */
const MAX_PIECES = 1 << 22;

/** BASE^(WINDOW − 1), modulo 2^32. */
const LEAVING = (() => {
  let power = 1;
  for (let i = 1; i < WINDOW; i++) power = Math.imul(power, BASE);
  return power;
})();

export interface Match {
  oldAt: Bytes;
  newAt: Bytes;
  length: Bytes;
}

export class OldPieces {
  readonly #old: Uint8Array;
  readonly #table: Int32Array;
  readonly #mask: number;

  constructor(old: Uint8Array) {
    this.#old = old;
    let step = WINDOW / 4;
    while (old.length / step > MAX_PIECES) step *= 2;
    const pieces = Math.max(1, Math.floor(old.length / step));
    const size = 2 ** Math.ceil(Math.log2(pieces * 2));
    this.#mask = size - 1;
    this.#table = new Int32Array(size).fill(-1);
    for (let at = 0; at + WINDOW <= old.length; at += step) {
      const slot = this.#slotOf(hashAt(old, at));
      // The first of equal pieces: runs of zeros lead to the run's beginning.
      if (this.#table[slot] === -1) this.#table[slot] = at;
    }
  }

  #slotOf(hash: number): number {
    return (Math.imul(hash, 0x9e3779b1) >>> 7) & this.#mask;
  }

  /** Matches of `bytes` within [from, to), in order, not overlapping, each extended both ways. */
  *find(bytes: Uint8Array, from: Bytes, to: Bytes): Generator<Match, void> {
    let done = from;
    let at = from;
    let hash = at + WINDOW <= to ? hashAt(bytes, at) : 0;
    while (at + WINDOW <= to) {
      const match = this.#matchAt(bytes, hash, at, done, to);
      if (match) {
        yield match;
        at = done = match.newAt + match.length;
        if (at + WINDOW <= to) hash = hashAt(bytes, at);
        continue;
      }
      if (at + WINDOW < to)
        hash = Math.imul(hash - Math.imul(bytes[at]! + 1, LEAVING), BASE) + bytes[at + WINDOW]! + 1;
      at++;
    }
  }

  #matchAt(bytes: Uint8Array, hash: number, at: Bytes, floor: Bytes, to: Bytes): Match | undefined {
    const found = this.#table[this.#slotOf(hash | 0)]!;
    if (found < 0) return undefined;
    const old = this.#old;
    let length = 0;
    while (at + length < to && found + length < old.length && old[found + length] === bytes[at + length])
      length++;
    if (length < WINDOW) return undefined;
    let back = 0;
    while (at - back > floor && found - back > 0 && old[found - back - 1] === bytes[at - back - 1]) back++;
    return { oldAt: found - back, newAt: at - back, length: length + back };
  }
}

function hashAt(bytes: Uint8Array, at: Bytes): number {
  let hash = 0;
  for (let i = 0; i < WINDOW; i++) hash = (Math.imul(hash, BASE) + bytes[at + i]! + 1) | 0;
  return hash;
}
