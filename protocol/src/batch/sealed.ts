/**
 * A sealed batch: records of one stream, their range and the hash of what came before, signed by the device.
 * Its bytes are stored before they are first sent and are never made again; see `header.ts` for what they claim.
 *
 * First binary form (all integers little-endian):
 *   0   4  magic `SKB1`
 *   4   2  H, length of the header                                          ≤ 16 KiB
 *   6   4  I, length of the body once inflated                              ≤ 16 MiB
 *   10  H  header, CBOR list: [fleet, device, stream, epoch bytes(8), ordinal, seq, n, prev bytes(32), observed,
 *          [[from, to, reason]…], bridge bytes(32) | null]
 *   …      body: deflate of the CBOR of one column (`columns.ts`) of n objects; empty for a bridge
 *   −64 64 Ed25519 signature
 * Second binary form: `compact-form.ts`, for servers that said that they read it.
 * JSON form: one object whose last member is `"signature":"<128 hex>"`, without spaces around it.
 * Signed: `skein-batch-v1\0` followed by every byte before the signature (JSON: before `,"signature":`).
 *
 * Invariants: at most {@link MAX_BATCH_BYTES}, measured first; the header is bounded before it is parsed, the body
 * is inflated only up to its stated length and parsed only by {@link readRecords}, which callers run after
 * {@link verifyBatch}. The chain head after a batch is the SHA-256 of all its bytes, after a bridge what it states.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';
import { parseJson } from '../json-text.ts';
import type { Signer, Verify } from '../ports.ts';
import type { Bytes, Sha256Hex } from '../units.ts';
import { type Body, type Codecs, MAX_INFLATED_BYTES, packRecords, unpackRecords, type Zstd } from './body.ts';
import { COMPACT_MAGIC, type CompactBody, compactForm, splitCompact, unpackTree } from './compact-form.ts';
import { type BatchHeader, checkHeader } from './header.ts';
import { headerBytes, readHeader } from './header-bytes.ts';

export const MAX_BATCH_BYTES: Bytes = 1 << 20;
const MAX_HEADER_BYTES: Bytes = 16 * 1024;
const MAGIC = Uint8Array.of(0x53, 0x4b, 0x42, 0x31);
const HEADER_AT = 10;
const SIGNATURE_BYTES = 64;
const DOMAIN = new TextEncoder().encode('skein-batch-v1\0');
const JSON_SUFFIX = /^,"signature":"([0-9a-f]{128})"\}$/;
const JSON_SUFFIX_BYTES = 14 + 128 + 2;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** `columns` is `SKB1`, `compact` is `SKB2`. */
export type Encoding = 'columns' | 'compact' | 'json';

/** How a device writes its batches. */
export interface BatchForm {
  encoding: Encoding;
  /** Only for readers that have it too; used by `compact` where it is shorter. */
  zstd?: Zstd | undefined;
}

export interface OpenedBatch {
  header: BatchHeader;
  /** Chain head after this batch. */
  head: Sha256Hex;
  signed: Uint8Array;
  signature: Uint8Array;
  /** Not yet believed, not yet parsed. */
  body:
    | ({ encoding: 'columns' } & Body)
    | ({ encoding: 'compact' } & CompactBody)
    | { encoding: 'json'; records: unknown };
}

const broken = (what: string, cause?: unknown): SkeinError =>
  new SkeinError('BATCH_INVALID', `sealed batch: ${what}`, { cause });

/** SHA-256 of sealed bytes: the head that the next batch names as `prev`. */
export const chainHead = (bytes: Uint8Array): Sha256Hex => bytesToHex(sha256(bytes));

/** @throws SkeinError BATCH_INVALID when header or records break a rule, or the result is too long to be taken. */
export function sealBatch(
  header: BatchHeader,
  records: readonly unknown[],
  signer: Signer,
  encoding: Encoding = 'columns',
  zstd?: Zstd | undefined,
): Uint8Array {
  checkHeader({ ...header });
  if (records.length !== header.n) throw broken(`${records.length} records, ${header.n} stated`);
  const unsigned = unsignedForm(header, records, encoding, zstd);
  const signature = signer.sign(join(DOMAIN, unsigned));
  const tail = encoding === 'json' ? encoder.encode(`,"signature":"${bytesToHex(signature)}"}`) : signature;
  const sealed = join(unsigned, tail);
  if (sealed.length > MAX_BATCH_BYTES) throw broken(`${sealed.length} bytes, at most ${MAX_BATCH_BYTES}`);
  return sealed;
}

function unsignedForm(
  header: BatchHeader,
  records: readonly unknown[],
  encoding: Encoding,
  zstd: Zstd | undefined,
): Uint8Array {
  switch (encoding) {
    case 'columns':
      return binaryForm(header, records);
    case 'compact':
      return compactForm(headerBytes(header), records, zstd);
    case 'json':
      return jsonForm(header, records);
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

function binaryForm(h: BatchHeader, records: readonly unknown[]): Uint8Array {
  const header = headerBytes(h);
  const { deflated, inflatedBytes } = packRecords(records);
  const start = new Uint8Array(HEADER_AT);
  start.set(MAGIC);
  new DataView(start.buffer).setUint16(4, header.length, true);
  new DataView(start.buffer).setUint32(6, inflatedBytes, true);
  return join(join(start, header), deflated);
}

function jsonForm(header: BatchHeader, records: readonly unknown[]): Uint8Array {
  const { kept: _, ...rest } = header;
  const text = JSON.stringify({ ...rest, records }, (key, value) => {
    if (typeof value === 'number' && !Number.isFinite(value))
      throw broken(`JSON has no word for ${key} = ${value}`);
    return value;
  });
  return encoder.encode(text.slice(0, -1));
}

/**
 * Splits a batch into its parts and checks their shape; nothing of it is believed before {@link verifyBatch}.
 * @throws SkeinError BATCH_INVALID
 */
export function openBatch(bytes: Uint8Array): OpenedBatch {
  if (bytes.length > MAX_BATCH_BYTES)
    throw broken(`${bytes.length} bytes, at most ${MAX_BATCH_BYTES} are taken`);
  try {
    return bytes[0] === 0x7b ? openJson(bytes) : openBinary(bytes);
  } catch (cause) {
    throw cause instanceof SkeinError ? cause : broken('cannot be read', cause);
  }
}

const headAfter = (header: BatchHeader, bytes: Uint8Array): Sha256Hex => header.bridge ?? chainHead(bytes);

function openBinary(bytes: Uint8Array): OpenedBatch {
  const end = bytes.length - SIGNATURE_BYTES;
  if (end < HEADER_AT) throw broken('not one, or cut short');
  if (COMPACT_MAGIC.every((byte, at) => bytes[at] === byte)) return openCompact(bytes, end);
  if (!MAGIC.every((byte, at) => bytes[at] === byte)) throw broken('not one, or cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const bodyAt = HEADER_AT + view.getUint16(4, true);
  const inflatedBytes = view.getUint32(6, true);
  if (bodyAt > end || bodyAt - HEADER_AT > MAX_HEADER_BYTES) throw broken('the header runs over its end');
  if (inflatedBytes > MAX_INFLATED_BYTES) throw broken('the body would inflate beyond its limit');
  const header = readHeader(bytes.subarray(HEADER_AT, bodyAt));
  return {
    header,
    head: headAfter(header, bytes),
    signed: bytes.subarray(0, end),
    signature: bytes.subarray(end),
    body: { encoding: 'columns', deflated: bytes.subarray(bodyAt, end), inflatedBytes },
  };
}

function openCompact(bytes: Uint8Array, end: number): OpenedBatch {
  const signed = bytes.subarray(0, end);
  const { header: own, body } = splitCompact(signed, MAX_HEADER_BYTES);
  const header = readHeader(own);
  const signature = bytes.subarray(end);
  return {
    header,
    head: headAfter(header, bytes),
    signed,
    signature,
    body: { encoding: 'compact', ...body },
  };
}

function openJson(bytes: Uint8Array): OpenedBatch {
  const end = bytes.length - JSON_SUFFIX_BYTES;
  const suffix = end > 0 ? JSON_SUFFIX.exec(decoder.decode(bytes.subarray(end))) : null;
  if (suffix === null) throw broken('no signature at its end');
  const { records, signature: _, ...rest } = parseJson(decoder.decode(bytes)) as Record<string, unknown>;
  const header = checkHeader({ ...rest, kept: rest.n });
  return {
    header,
    head: headAfter(header, bytes),
    signed: bytes.subarray(0, end),
    signature: hexToBytes(suffix[1]!),
    body: { encoding: 'json', records },
  };
}

/** @throws SkeinError BATCH_FORGED unless the holder of `publicKey` signed exactly these bytes. */
export function verifyBatch(batch: OpenedBatch, verify: Verify, publicKey: Uint8Array): void {
  if (verify(publicKey, join(DOMAIN, batch.signed), batch.signature)) return;
  const { device, stream, seq } = batch.header;
  throw new SkeinError('BATCH_FORGED', `batch ${device}/${stream}/${seq}: not signed by this device's key`, {
    fix: 'Check who else may publish on this device’s topics; if the device was enrolled anew, its old batches end here.',
    data: { device, stream, seq },
  });
}

/** The records of a verified batch. @throws SkeinError BATCH_INVALID, also for zstd where there is none */
export function readRecords(batch: OpenedBatch, codecs: Codecs = {}): unknown[] {
  try {
    const records = recordsOf(batch, codecs);
    if (!Array.isArray(records) || records.length !== batch.header.n)
      throw broken('records of another number');
    return records;
  } catch (cause) {
    throw cause instanceof SkeinError ? cause : broken('its body cannot be read', cause);
  }
}

function recordsOf({ body, header }: OpenedBatch, codecs: Codecs): unknown {
  switch (body.encoding) {
    case 'columns':
      return unpackRecords(body, header.n, codecs.inflate);
    case 'compact':
      return unpackTree(body, header.n, codecs);
    case 'json':
      return body.records;
  }
}
