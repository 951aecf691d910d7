/**
 * Range and If-Range for content-addressed bytes (RFC 9110 §13.1.5, §14). One range is served; several, or a unit
 * other than bytes, are answered with the whole, as the RFC allows. The strong validator is the hash itself.
 */
import { type Bytes, KIB, type Sha256Hex } from '@skein/protocol/units.ts';

export type RangeAnswer =
  | { status: 200; start: 0; end: Bytes }
  | { status: 206; start: Bytes; end: Bytes }
  | { status: 416 };

/** TLS records of blobs: one that is cut short by a broken connection is lost to the device, so they are small. */
export const BLOB_RECORD: Bytes = 8 * KIB;

export const etagOf = (sha256: Sha256Hex): string => `"${sha256}"`;

/** `end` is exclusive. */
export function rangeOf(
  headers: { range?: string | undefined; ifRange?: string | undefined },
  etag: string,
  size: Bytes,
): RangeAnswer {
  const whole = { status: 200, start: 0, end: size } as const;
  if (headers.range === undefined || (headers.ifRange !== undefined && headers.ifRange !== etag))
    return whole;
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(headers.range.replaceAll(' ', '')) ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return whole;
  if (first === '') return suffix(Number(last), size);
  const start = Number(first);
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  if (last !== '' && Number(last) < start) return whole;
  return start < size ? { status: 206, start, end } : { status: 416 };
}

const suffix = (length: Bytes, size: Bytes): RangeAnswer =>
  length > 0 && size > 0 ? { status: 206, start: Math.max(0, size - length), end: size } : { status: 416 };
