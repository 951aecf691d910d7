/**
 * What the server does with the next verified batch of (device, stream, epoch): a pure decision on its watermark.
 *
 * Only the next number is accepted, and only on the same chain; so every number is accounted for exactly once,
 * stored or as a gap, however often and in whatever order batches arrive.
 */
import { type BatchHeader, covers, type Gap, NO_HEAD } from '@skein/protocol/batch/header.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';

export interface Watermark {
  nextSeq: number;
  head: Sha256Hex;
}

/** Of an epoch the server has never seen. */
export const NOTHING: Watermark = { nextSeq: 0, head: NO_HEAD };

export type Verdict =
  /** Store its records and gaps, move the mark. */
  | { kind: 'accept'; next: Watermark; gaps: readonly Gap[] }
  /** Already accounted for: acknowledge again. */
  | { kind: 'duplicate' }
  /** Something before it is missing: say what is wanted. */
  | { kind: 'gap' }
  /** The same numbers on another chain: a copied identity or a restored disk. Never stored, always told. */
  | { kind: 'fork'; reason: 'chain-broken' | 'same-number' };

export interface Arrival {
  header: BatchHeader;
  /** Chain head after it. */
  head: Sha256Hex;
}

/** @param storedHead chain head of the batch that is stored under this very `seq`, if there is one. */
export function acceptBatch(mark: Watermark, { header, head }: Arrival, storedHead?: Sha256Hex): Verdict {
  const { from, to } = covers(header);
  const bridge = header.bridge !== null;
  if (from > mark.nextSeq) return { kind: 'gap' };
  if (from === mark.nextSeq) {
    if (header.prev !== mark.head) return { kind: 'fork', reason: 'chain-broken' };
    return { kind: 'accept', next: { nextSeq: to + 1, head }, gaps: header.gaps };
  }
  if (to < mark.nextSeq) {
    const other = !bridge && storedHead !== undefined && storedHead !== head;
    return other ? { kind: 'fork', reason: 'same-number' } : { kind: 'duplicate' };
  }
  // The mark lies inside: a device re-tells a bridge from the mark on, but batches are never cut again.
  return bridge ? { kind: 'gap' } : { kind: 'fork', reason: 'chain-broken' };
}

/** How many numbers of [from, to] are records the server has, given the gaps it recorded. */
export function storedWithin(
  range: { from: number; to: number },
  gaps: readonly Omit<Gap, 'reason'>[],
): number {
  const missing = gaps.reduce((sum, gap) => {
    const overlap = Math.min(gap.to, range.to) - Math.max(gap.from, range.from) + 1;
    return sum + Math.max(0, overlap);
  }, 0);
  return range.to - range.from + 1 - missing;
}
