/** IDX, as MNIST has it: 0, 0, a type, the rank; big-endian dimensions of 4 bytes; then big-endian data. Pure. */
import { refuse, sizeOf } from './samples.ts';

const TYPES: Record<number, string> = { 8: 'u1', 9: 'i1', 11: 'i2', 12: 'i4', 13: 'f4', 14: 'f8' };

export interface IdxHeader {
  type: string;
  itemBytes: number;
  shape: readonly number[];
}

/** @param magic the first 4 bytes. @throws SkeinError SOURCE_INVALID */
export function idxRank(where: string, magic: Uint8Array): { type: string; rank: number } {
  const type = TYPES[magic[2] ?? 0];
  const rank = magic[3] ?? 0;
  if (magic[0] !== 0 || magic[1] !== 0 || !type || rank < 1 || rank > 8)
    throw refuse(where, 'not an IDX file', 'IDX files start with 0, 0, a type and a rank.');
  return { type, rank };
}

export function idxShape(where: string, type: string, dims: Uint8Array): IdxHeader {
  const view = new DataView(dims.buffer, dims.byteOffset, dims.byteLength);
  const shape = Array.from({ length: dims.length / 4 }, (_, d) => view.getUint32(4 * d));
  if (!Number.isSafeInteger(sizeOf(shape) * 8)) throw refuse(where, `a shape of ${shape.join(' × ')}`);
  return { type, itemBytes: Number(type.slice(1)), shape };
}
