/**
 * The second binary form of a sealed batch; BATCH.md is its publication.
 *
 *   0  4  magic `SKB2`
 *   4  1  how the tree is packed: 0 as it is, 1 raw deflate with `dictionary.ts`, 2 zstd
 *   5     varints: H, length of the header ≤ 16 KiB | I, length of the tree unpacked ≤ 16 MiB | P, packed | C, below
 *   …  H  header, as in `SKB1`
 *   …  P  the tree of the records (`tree.ts`) as CBOR
 *   …  C  its numbers (`numbers.ts`): what went through the range coder
 *   …     and the bits beside it, up to the signature
 *   −64   Ed25519 signature
 *
 * A bridge ends after its header: I, P and C are 0. The tree is unpacked only up to its stated length.
 */
import { decode, encode } from 'cborg';
import { deflateSync } from 'fflate';
import { BinaryCoder } from '../delta/binary-coder.ts';
import { SkeinError } from '../errors.ts';
import type { Bytes } from '../units.ts';
import { type Codecs, inflateInSteps, MAX_INFLATED_BYTES, type Zstd } from './body.ts';
import { MAX_VALUES } from './columns.ts';
import { DICTIONARY } from './dictionary.ts';
import { Numbers } from './numbers.ts';
import { readTree, writeTree } from './tree.ts';
import { readVarint, writeVarints } from './varints.ts';

export const COMPACT_MAGIC: readonly number[] = [0x53, 0x4b, 0x42, 0x32];
const PREFIX: Bytes = COMPACT_MAGIC.length + 1;

/** Of a batch’s numbers. */
const USUAL_BYTES: Bytes = 4096;

const AS_IT_IS = 0;
const DEFLATE = 1;
const ZSTD = 2;

export interface CompactBody {
  packing: number;
  tree: Uint8Array;
  treeBytes: Bytes;
  coded: Uint8Array;
  raw: Uint8Array;
}

const broken = (what: string, cause?: unknown): SkeinError =>
  new SkeinError('BATCH_INVALID', `sealed batch: ${what}`, { cause });

const NOTHING = new Uint8Array(0);

/** All but the signature. @throws SkeinError BATCH_INVALID for what cannot be recorded, and when it is too long. */
export function compactForm(header: Uint8Array, records: readonly unknown[], zstd?: Zstd): Uint8Array {
  const { packing, tree, treeBytes, coded, raw } = packTree(records, zstd);
  const lengths = writeVarints([header.length, treeBytes, tree.length, coded.length]);
  const parts = [Uint8Array.from([...COMPACT_MAGIC, packing]), lengths, header, tree, coded, raw];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function packTree(records: readonly unknown[], zstd?: Zstd): CompactBody {
  if (records.length === 0)
    return { packing: AS_IT_IS, tree: NOTHING, treeBytes: 0, coded: NOTHING, raw: NOTHING };
  const coder = new BinaryCoder(true, USUAL_BYTES);
  const plain = encode(writeTree(records, new Numbers(coder)));
  if (plain.length > MAX_INFLATED_BYTES) throw broken('the records are too long for one batch');
  return { ...shortest(plain, zstd), treeBytes: plain.length, ...coder.close() };
}

function shortest(plain: Uint8Array, zstd?: Zstd): Pick<CompactBody, 'packing' | 'tree'> {
  const ways = [
    { packing: AS_IT_IS, tree: plain },
    { packing: DEFLATE, tree: deflateSync(plain, { level: 9, dictionary: DICTIONARY }) },
    ...(zstd ? [{ packing: ZSTD, tree: zstd.compress(plain) }] : []),
  ];
  return ways.reduce((best, way) => (way.tree.length < best.tree.length ? way : best));
}

/** @param bytes without the signature; `header` and `body` lie in it. @throws SkeinError BATCH_INVALID */
export function splitCompact(
  bytes: Uint8Array,
  maxHeaderBytes: Bytes,
): { header: Uint8Array; body: CompactBody } {
  let at = PREFIX;
  const length = (limit: Bytes): Bytes => {
    const { value, next } = readVarint(bytes, at);
    if (value > limit) throw broken('a part is longer than it may be');
    at = next;
    return value;
  };
  const lengths = [
    length(maxHeaderBytes),
    length(MAX_INFLATED_BYTES),
    length(bytes.length),
    length(bytes.length),
  ];
  const [headerBytes, treeBytes, packed, coded] = lengths as [Bytes, Bytes, Bytes, Bytes];
  if (at + headerBytes + packed + coded > bytes.length) throw broken('its parts run over its end');
  const take = (size: Bytes): Uint8Array => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const header = take(headerBytes);
  const body = { packing: bytes[PREFIX - 1]!, tree: take(packed), treeBytes, coded: take(coded) };
  return { header, body: { ...body, raw: bytes.subarray(at) } };
}

/** @throws SkeinError BATCH_INVALID, or whatever a decoder says about bytes that are none of ours. */
export function unpackTree(body: CompactBody, count: number, codecs: Codecs): unknown[] {
  if (count === 0) return [];
  const tree = decode(unpacked(body, codecs));
  const coder = new BinaryCoder(false);
  try {
    coder.open(body);
    return readTree(tree, count, new Numbers(coder), { left: MAX_VALUES });
  } catch (cause) {
    // The coder speaks of patches, for which it was made.
    if (cause instanceof SkeinError && cause.code === 'BATCH_INVALID') throw cause;
    throw broken('its numbers end too early', cause);
  }
}

function unpacked(
  { packing, tree, treeBytes }: CompactBody,
  { inflate = inflateInSteps, zstd }: Codecs,
): Uint8Array {
  switch (packing) {
    case AS_IT_IS:
      if (tree.length !== treeBytes) throw broken('the tree has another length than it states');
      return tree;
    case DEFLATE:
      return inflate(tree, treeBytes, DICTIONARY);
    case ZSTD:
      if (!zstd) throw broken('packed with zstd, which is not available here');
      return exactly(zstd.decompress(tree, treeBytes), treeBytes);
    default:
      throw broken('packed in a way this version does not know');
  }
}

function exactly(bytes: Uint8Array, length: Bytes): Uint8Array {
  if (bytes.length !== length) throw broken('the tree has another length than it states');
  return bytes;
}
