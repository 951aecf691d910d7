/**
 * What a sealed batch says about itself, and the rules that hold before anything else is believed.
 *
 * - Sequence numbers count the records of one (device, stream, epoch) from 0. A batch *covers* a run of them
 *   without holes: first its gaps (numbers whose records the device gave up, with reasons), then its `n` records,
 *   the first of which is `seq`.
 * - `prev` is the chain head before the first number covered: 32 zero bytes at 0.
 * - A *bridge* has no records: it stands for sealed batches that were given up, or that a restored server lacks
 *   and the device no longer has. `bridge` is the chain head after the last number covered, so that the batches
 *   sealed behind it still fit, unchanged.
 */
import { SkeinError } from '../errors.ts';
import { isId, STREAMS, type Stream } from '../topics.ts';
import type { Sha256Hex } from '../units.ts';

export interface Gap {
  /** Both inclusive. */
  from: number;
  to: number;
  reason: string;
}

export interface BatchHeader {
  v: 1;
  fleet: string;
  device: string;
  stream: Stream;
  /** 16 hex characters, random per outbox; `ordinal` grows with each epoch of a device. */
  epoch: string;
  ordinal: number;
  seq: number;
  n: number;
  prev: Sha256Hex;
  /** Results that were there to be kept, and how many of them were; sampling happens before numbering. */
  observed: number;
  kept: number;
  gaps: readonly Gap[];
  bridge: Sha256Hex | null;
}

export const NO_HEAD: Sha256Hex = '0'.repeat(64);
export const MAX_RECORDS = 4096;
export const MAX_GAPS = 64;

const HASH = /^[0-9a-f]{64}$/;
const EPOCH = /^[0-9a-f]{16}$/;
const REASON = /^[a-z][a-z-]{0,31}$/;

/** First and last sequence number that a batch accounts for. */
export function covers(header: BatchHeader): { from: number; to: number } {
  const from = header.gaps[0]?.from ?? header.seq;
  const to = header.n > 0 ? header.seq + header.n - 1 : header.gaps.at(-1)!.to;
  return { from, to };
}

const broken = (what: string): SkeinError => new SkeinError('BATCH_INVALID', `batch header: ${what}`);
const count = (value: unknown, max = 2 ** 48): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max;

/** @throws SkeinError BATCH_INVALID naming the first rule that does not hold. */
export function checkHeader(value: Record<string, unknown>): BatchHeader {
  const h = value as unknown as BatchHeader;
  if (h.v !== 1) throw broken('a version this program does not know');
  if (typeof h.fleet !== 'string' || !isId(h.fleet)) throw broken('fleet');
  if (typeof h.device !== 'string' || !isId(h.device)) throw broken('device');
  if (!STREAMS.includes(h.stream)) throw broken('stream');
  if (typeof h.epoch !== 'string' || !EPOCH.test(h.epoch)) throw broken('epoch');
  if (!count(h.ordinal)) throw broken('ordinal');
  if (!count(h.seq) || !count(h.n, MAX_RECORDS)) throw broken('sequence');
  if (typeof h.prev !== 'string' || !HASH.test(h.prev)) throw broken('prev');
  if (!count(h.observed) || h.kept !== h.n || h.observed < h.kept) throw broken('observed and kept');
  if (h.bridge !== null && (typeof h.bridge !== 'string' || !HASH.test(h.bridge))) throw broken('bridge');
  if ((h.bridge !== null) !== (h.n === 0)) throw broken('only a bridge is without records');
  checkGaps(h);
  return h;
}

function checkGaps({ gaps, seq, n }: BatchHeader): void {
  if (!Array.isArray(gaps) || gaps.length > MAX_GAPS) throw broken('gaps');
  if (n === 0 && gaps[0]?.from !== seq) throw broken('a bridge starts at its first gap');
  let next = gaps[0]?.from;
  for (const gap of gaps) {
    if (!count(gap?.from) || !count(gap.to) || gap.from !== next || gap.to < gap.from) {
      throw broken('gaps are not one run');
    }
    if (typeof gap.reason !== 'string' || !REASON.test(gap.reason)) throw broken('reason of a gap');
    next = gap.to + 1;
  }
  if (n > 0 && gaps.length > 0 && next !== seq) throw broken('the gaps do not end at the first record');
}
