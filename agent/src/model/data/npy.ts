/**
 * NumPy's .npy, versions 1.0 to 3.0 (numpy/lib/format): magic `\x93NUMPY`, major, minor, the header's length (u16 in
 * 1.0, u32 from 2.0 on, little-endian), a Python dictionary with `descr`, `fortran_order` and `shape`, then the data.
 * Read: bool, signed and unsigned integers of 1 to 8 bytes, floats of 2 to 8, either byte order. Pure.
 */
import { halfOf } from '../../pipeline/tensor-numbers.ts';
import { type Numbers, refuse, sizeOf } from './samples.ts';

export interface NpyHeader {
  /** Kind and item size, e.g. `f4`, `u1`, `b1`. */
  type: string;
  bigEndian: boolean;
  itemBytes: number;
  /** First axis varies fastest. */
  fortran: boolean;
  shape: readonly number[];
}

export const NPY_PREFIX_BYTES = 12;
/** NumPy itself refuses longer headers than 10,000 unless told otherwise. */
const MAX_HEADER_BYTES = 65_536;
const FIX = 'Save it again, e.g. numpy.save("x.npy", x.astype("float32")).';

/** @param prefix the first {@link NPY_PREFIX_BYTES}. @returns where the dictionary starts and how long it is */
export function npyLayout(where: string, prefix: Uint8Array): { start: number; length: number } {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (magic.some((byte, i) => prefix[i] !== byte)) throw refuse(where, 'not a .npy file', FIX);
  const [major, minor] = [prefix[6]!, prefix[7]!];
  if (major < 1 || major > 3) throw refuse(where, `.npy version ${major}.${minor}, 1.0 to 3.0 is read`, FIX);
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > MAX_HEADER_BYTES) throw refuse(where, `a header of ${length} bytes`, FIX);
  return { start: major === 1 ? 10 : 12, length };
}

const field = (text: string, name: string, value: string): string | undefined =>
  new RegExp(`['"]${name}['"]\\s*:\\s*(${value})`).exec(text)?.[1];

/** @param dictionary the header's bytes. @throws SkeinError SOURCE_INVALID for a type that is not numbers */
export function parseNpyHeader(where: string, dictionary: Uint8Array): NpyHeader {
  const text = new TextDecoder().decode(dictionary);
  const descr = field(text, 'descr', '[\'"][^\'"]{1,32}[\'"]|\\[')?.replace(/['"]/g, '');
  const order = field(text, 'fortran_order', 'True|False');
  const dims = field(text, 'shape', '\\([^)]*\\)');
  if (!descr || !order || !dims)
    throw refuse(where, 'the header names no descr, fortran_order or shape', FIX);
  if (descr === '[') throw refuse(where, 'a structured array, plain numbers are read', FIX);
  const [, endian, type] = /^([<>|=]?)([a-zA-Z]\d*)$/.exec(descr) ?? [];
  if (!type || !(type in READ)) throw refuse(where, `dtype ${descr}, numbers of up to 8 bytes are read`, FIX);
  const shape = dims
    .slice(1, -1)
    .split(',')
    .filter((dim) => dim.trim() !== '')
    .map((dim) => Number(dim.replace(/L$/, '')));
  if (shape.some((dim) => !Number.isSafeInteger(dim) || dim < 0) || !Number.isSafeInteger(sizeOf(shape) * 8))
    throw refuse(where, `the shape ${dims.slice(0, 80)} is none`, FIX);
  const itemBytes = Number(type.slice(1));
  return { type, bigEndian: endian === '>', itemBytes, fortran: order === 'True', shape };
}

type Read = (buffer: ArrayBuffer) => Numbers;
const READ: Record<string, Read> = {
  b1: (b) => Uint8Array.from(new Uint8Array(b), (byte) => (byte === 0 ? 0 : 1)),
  u1: (b) => new Uint8Array(b),
  i1: (b) => new Int8Array(b),
  u2: (b) => new Uint16Array(b),
  i2: (b) => new Int16Array(b),
  u4: (b) => new Uint32Array(b),
  i4: (b) => new Int32Array(b),
  u8: (b) => new BigUint64Array(b),
  i8: (b) => new BigInt64Array(b),
  f2: (b) => Float32Array.from(new Uint16Array(b), halfOf),
  f4: (b) => new Float32Array(b),
  f8: (b) => new Float64Array(b),
};

/** Reverses the bytes of each item in place. */
function swap(bytes: Uint8Array, itemBytes: number): void {
  for (let at = 0; at < bytes.length; at += itemBytes) bytes.subarray(at, at + itemBytes).reverse();
}

/** @param bytes whole items. float16 becomes float32, bool 0 or 1. */
export function numbersFrom(bytes: Uint8Array, type: string, bigEndian: boolean): Numbers {
  const own = bytes.slice();
  const itemBytes = Number(type.slice(1));
  if (bigEndian && itemBytes > 1) swap(own, itemBytes);
  return READ[type]!(own.buffer);
}

/** Sample `index` of an array in Fortran order, as row-major values: the first axis varies fastest. */
export function fortranSample(all: Numbers, shape: readonly number[], index: number): Numbers {
  const [samples = 1, ...inner] = shape;
  const count = sizeOf(inner);
  const values = new (all.constructor as new (length: number) => Numbers)(count);
  const position = inner.map(() => 0);
  for (let i = 0; i < count; i++) {
    let [at, stride] = [index, samples];
    for (let axis = 0; axis < inner.length; axis++) {
      at += position[axis]! * stride;
      stride *= inner[axis]!;
    }
    (values as Float64Array)[i] = all[at] as number;
    for (let axis = inner.length - 1; axis >= 0 && ++position[axis]! === inner[axis]; axis--)
      position[axis] = 0;
  }
  return values;
}
