/** The header of both binary forms: a CBOR list, in the order of BATCH.md. */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { decode, encode } from 'cborg';
import { SkeinError } from '../errors.ts';
import { type BatchHeader, checkHeader } from './header.ts';

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch header: ${what}`);

export function headerBytes(h: BatchHeader): Uint8Array {
  const gaps = h.gaps.map((gap) => [gap.from, gap.to, gap.reason]);
  return encode([
    h.fleet,
    h.device,
    h.stream,
    hexToBytes(h.epoch),
    h.ordinal,
    h.seq,
    h.n,
    hexToBytes(h.prev),
    h.observed,
    gaps,
    h.bridge === null ? null : hexToBytes(h.bridge),
  ]);
}

/** @throws SkeinError BATCH_INVALID, or whatever a decoder says about bytes that are none of ours. */
export function readHeader(bytes: Uint8Array): BatchHeader {
  const list: unknown = decode(bytes);
  if (!Array.isArray(list) || list.length !== 11) throw broken('header of another shape');
  const [fleet, device, stream, epoch, ordinal, seq, n, prev, observed, gaps, bridge] = list;
  return checkHeader({
    v: 1,
    fleet,
    device,
    stream,
    epoch: hexOf(epoch),
    ordinal,
    seq,
    n,
    prev: hexOf(prev),
    observed,
    kept: n,
    gaps: (gaps as unknown[][]).map(([from, to, reason]) => ({ from, to, reason })),
    bridge: bridge === null ? null : hexOf(bridge),
  });
}

function hexOf(value: unknown): string {
  if (value instanceof Uint8Array) return bytesToHex(value);
  throw broken('bytes expected in the header');
}
