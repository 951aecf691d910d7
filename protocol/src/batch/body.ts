/** A batch's records as bytes, first form: deflate of the CBOR of one column. Bounded both ways. */
import { decode, encode } from 'cborg';
import { deflateSync, Inflate } from 'fflate';
import { SkeinError } from '../errors.ts';
import type { Bytes } from '../units.ts';
import { encodeColumn } from './columns.ts';
import { decodeColumn } from './read-columns.ts';

export const MAX_INFLATED_BYTES: Bytes = 16 << 20;

/** zstd where the runtime has it; handed in, for the pure core has none. */
export interface Zstd {
  compress(bytes: Uint8Array): Uint8Array;
  /** Throws, whatever it likes, beyond `maxBytes`. */
  decompress(bytes: Uint8Array, maxBytes: Bytes): Uint8Array;
}

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `sealed batch: ${what}`);

export interface Body {
  deflated: Uint8Array;
  inflatedBytes: Bytes;
}

/** @throws SkeinError BATCH_INVALID for what cannot be recorded, and when it is too long. */
export function packRecords(records: readonly unknown[]): Body {
  if (records.length === 0) return { deflated: new Uint8Array(0), inflatedBytes: 0 };
  const inflated = encode(encodeColumn(records));
  if (inflated.length > MAX_INFLATED_BYTES) throw broken('the records are too long for one batch');
  return { deflated: deflateSync(inflated, { level: 9 }), inflatedBytes: inflated.length };
}

/**
 * Raw deflate back to exactly `size` bytes; throws when it is more or less, before more than `size` are kept.
 * `dictionary`: what the deflated may refer to before its beginning.
 */
export type InflateRaw = (deflated: Uint8Array, size: Bytes, dictionary?: Uint8Array) => Uint8Array;

/** What the platform does faster than we, or at all. */
export interface Codecs {
  inflate?: InflateRaw | undefined;
  zstd?: Zstd | undefined;
}

/** @throws SkeinError BATCH_INVALID, or whatever a decoder says about bytes that are none of ours. */
export function unpackRecords(
  { deflated, inflatedBytes }: Body,
  count: number,
  inflate: InflateRaw = inflateInSteps,
): unknown[] {
  return count === 0 ? [] : decodeColumn(decode(inflate(deflated, inflatedBytes)), count);
}

/** In steps, so that a bomb is noticed after at most one step's output beyond what was stated. */
export function inflateInSteps(deflated: Uint8Array, size: Bytes, dictionary?: Uint8Array): Uint8Array {
  const out = new Uint8Array(size);
  const step = 4096;
  let at = 0;
  const stream = new Inflate(dictionary ? { dictionary } : {}, (chunk) => {
    if (at + chunk.length > size) throw broken('the body inflates to more than it states');
    out.set(chunk, at);
    at += chunk.length;
  });
  for (let from = 0; from < deflated.length; from += step) {
    stream.push(deflated.subarray(from, from + step), from + step >= deflated.length);
  }
  if (at !== size) throw broken('the body inflates to less than it states');
  return out;
}
