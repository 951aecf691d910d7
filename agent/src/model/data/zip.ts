/**
 * The central directory of a .zip (APPNOTE.TXT 6.3), as .npz uses it: stored or deflated, ZIP64. Pure; the entries'
 * bytes are the adapter's matter. Limits: 1,024 entries, a directory of 1 MiB; no encryption, no two of one name.
 */
import { refuse } from './samples.ts';

export interface ZipEntry {
  name: string;
  method: 'stored' | 'deflated';
  crc: number;
  packedBytes: number;
  sizeBytes: number;
  /** Of the local header. */
  offset: number;
}

/** The end record's 22 bytes and its longest comment, and before them the ZIP64 locator. */
export const ZIP_TAIL_BYTES = 22 + 65_535 + 20;
export const ZIP_LOCAL_BYTES = 30;
export const MAX_DIRECTORY_BYTES = 1 << 20;
const MAX_ENTRIES = 1024;
const FIX = 'Save it again, e.g. numpy.savez("x.npz", x=x).';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const big = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

export interface Directory {
  offset: number;
  sizeBytes: number;
  entries: number;
}

/** 4.3.16, from the back; 4.3.15 when the archive is ZIP64: then where its end record lies. */
export function zipEnd(where: string, tail: Uint8Array): Directory | { zip64At: number } {
  const view = viewOf(tail);
  let at = tail.length - 22;
  while (at >= 0 && view.getUint32(at, true) !== 0x06054b50) at--;
  if (at < 0) throw refuse(where, 'not a .npz file: it has no directory at its end, or is cut short', FIX);
  if (at >= 20 && view.getUint32(at - 20, true) === 0x07064b50) return { zip64At: big(view, at - 12) };
  return {
    entries: view.getUint16(at + 10, true),
    sizeBytes: view.getUint32(at + 12, true),
    offset: view.getUint32(at + 16, true),
  };
}

/** 4.3.14, its first 56 bytes. */
export function zip64End(where: string, record: Uint8Array): Directory {
  const view = viewOf(record);
  if (record.length < 56 || view.getUint32(0, true) !== 0x06064b50)
    throw refuse(where, 'the ZIP64 end record is damaged', FIX);
  return { entries: big(view, 32), sizeBytes: big(view, 40), offset: big(view, 48) };
}

/** 4.3.12. @param fileBytes of the whole archive: nothing may lie outside it. @throws SkeinError SOURCE_INVALID */
export function readDirectory(
  where: string,
  bytes: Uint8Array,
  expected: number,
  fileBytes: number,
): ZipEntry[] {
  if (expected > MAX_ENTRIES)
    throw refuse(where, `${expected} entries, at most ${MAX_ENTRIES} are read`, FIX);
  const entries: ZipEntry[] = [];
  const view = viewOf(bytes);
  let at = 0;
  for (let i = 0; i < expected; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50)
      throw refuse(where, `entry ${i + 1} of its directory is damaged`, FIX);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((o) => view.getUint16(at + o, true));
    const end = at + 46 + nameBytes! + extraBytes! + commentBytes!;
    if (end > bytes.length) throw refuse(where, `entry ${i + 1} of its directory is cut short`, FIX);
    const extra = bytes.subarray(at + 46 + nameBytes!, at + 46 + nameBytes! + extraBytes!);
    entries.push(entryAt(where, bytes.subarray(at, at + 46 + nameBytes!), extra));
    at = end;
  }
  const names = new Set(entries.map(({ name }) => name));
  if (names.size !== entries.length) throw refuse(where, 'two entries have the same name', FIX);
  const outside = entries.find(({ offset, packedBytes }) => offset + packedBytes > fileBytes);
  if (outside) throw refuse(where, `\`${outside.name}\` lies beyond the end of the file`, FIX);
  return entries;
}

function entryAt(where: string, head: Uint8Array, extra: Uint8Array): ZipEntry {
  const view = viewOf(head);
  const name = new TextDecoder().decode(head.subarray(46));
  if (view.getUint16(8, true) & 1) throw refuse(where, `\`${name}\` is encrypted`, FIX);
  const method = view.getUint16(10, true);
  if (method !== 0 && method !== 8)
    throw refuse(where, `\`${name}\` is packed by method ${method}, stored and deflated are read`, FIX);
  const sizes = { sizeBytes: view.getUint32(24, true), packedBytes: view.getUint32(20, true) };
  const entry = { ...sizes, offset: view.getUint32(42, true) };
  widen(entry, extra);
  return { name, method: method === 0 ? 'stored' : 'deflated', crc: view.getUint32(16, true), ...entry };
}

/** 4.5.3: those that do not fit 32 bits follow, in this order, in the ZIP64 extra field. */
function widen(entry: { sizeBytes: number; packedBytes: number; offset: number }, extra: Uint8Array): void {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    let next = at + 4;
    for (const key of ['sizeBytes', 'packedBytes', 'offset'] as const) {
      if (entry[key] !== 0xffffffff || next + 8 > extra.length) continue;
      entry[key] = big(view, next);
      next += 8;
    }
    return;
  }
}
