/**
 * Runs of numbers as bytes, little-endian throughout.
 * - varint: 7 bits a byte, low bits first, high bit = more follow; at most 8 bytes (0 … 2^53 − 1).
 * - zigzag: 0, −1, 1, −2, … → 0, 1, 2, 3, …, so that small magnitudes stay small.
 * - delta: the first value, then differences to the value before.
 * - planes: of n floats first all lowest bytes, then all second bytes …: equal exponents lie side by side.
 * Readers take a byte array and a count and refuse anything but exactly that many values.
 */
import { SkeinError } from '../errors.ts';

/** Zigzag doubles, so magnitudes (and differences) stay below this. */
const LIMIT = 2 ** 52;

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch column: ${what}`);

export function writeVarints(values: ArrayLike<number>): Uint8Array {
  const out: number[] = [];
  for (let i = 0; i < values.length; i++) {
    let rest = values[i]!;
    while (rest >= 128) {
      out.push((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    out.push(rest);
  }
  return Uint8Array.from(out);
}

/** The varint at `from`, and where the next begins. @throws SkeinError BATCH_INVALID */
export function readVarint(bytes: Uint8Array, from: number): { value: number; next: number } {
  let at = from;
  let value = 0;
  let scale = 1;
  let byte: number;
  do {
    if (at >= bytes.length || scale > 2 ** 49) throw broken('unfinished or oversized number');
    byte = bytes[at++]!;
    value += (byte & 127) * scale;
    scale *= 128;
  } while (byte & 128);
  if (value > Number.MAX_SAFE_INTEGER) throw broken('number beyond 2^53');
  return { value, next: at };
}

/** @throws SkeinError BATCH_INVALID unless `bytes` holds exactly `count` varints. */
export function readVarints(bytes: Uint8Array, count: number): number[] {
  if (bytes.length < count) throw broken(`${count} values claimed, ${bytes.length} bytes present`);
  const values: number[] = new Array(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { value, next } = readVarint(bytes, at);
    values[i] = value;
    at = next;
  }
  if (at !== bytes.length) throw broken('bytes left over');
  return values;
}

const zigzag = (v: number): number => (v < 0 ? -2 * v - 1 : 2 * v);
const unzigzag = (u: number): number => (u % 2 === 1 ? -(u + 1) / 2 : u / 2);

/** May these go through {@link writeInts}? −0 may not: it would come back as 0. */
export function areInts(values: readonly number[]): boolean {
  let before = 0;
  for (const v of values) {
    if (!Number.isInteger(v) || Math.abs(v) >= LIMIT / 2 || Object.is(v, -0)) return false;
    if (Math.abs(v - before) >= LIMIT) return false;
    before = v;
  }
  return true;
}

export function writeInts(values: readonly number[], delta: boolean): Uint8Array {
  return writeVarints(values.map((v, i) => zigzag(delta && i > 0 ? v - values[i - 1]! : v)));
}

export function readInts(bytes: Uint8Array, count: number, delta: boolean): number[] {
  const values = readVarints(bytes, count);
  for (let i = 0; i < count; i++) {
    values[i] = unzigzag(values[i]!) + (delta && i > 0 ? values[i - 1]! : 0);
    if (!Number.isSafeInteger(values[i])) throw broken('difference beyond 2^53');
  }
  return values;
}

/** `width` 4 only when every value survives it. NaN is written as the one quiet NaN. */
export function writePlanes(values: readonly number[], width: 4 | 8): Uint8Array {
  const view = new DataView(new ArrayBuffer(width));
  const out = new Uint8Array(values.length * width);
  values.forEach((value, i) => {
    if (width === 4) view.setFloat32(0, value, true);
    else view.setFloat64(0, value, true);
    for (let plane = 0; plane < width; plane++) out[plane * values.length + i] = view.getUint8(plane);
  });
  return out;
}

export function readPlanes(bytes: Uint8Array, count: number, width: 4 | 8): number[] {
  if (bytes.length !== count * width) throw broken(`${bytes.length} bytes for ${count} floats`);
  const view = new DataView(new ArrayBuffer(width));
  return Array.from({ length: count }, (_, i) => {
    for (let plane = 0; plane < width; plane++) view.setUint8(plane, bytes[plane * count + i]!);
    return width === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
  });
}
