/**
 * What a stream gives up when it reaches its caps. Whole segments go (a sealed batch, or one commit's records that no
 * batch has sealed yet), so that what is gone stays a few exact ranges: batches kept for a restored server first, which
 * loses nothing, then what is too old, then by the stream's policy:
 *
 * - `oldest`: the oldest.
 * - `downsample`: those whose absence leaves the smallest hole, so that what stays is spread evenly over the whole time.
 * - `keep-alarms`: the oldest without an alarm; with one only when no others are left.
 *
 * Bound: at most {@link MAX_HOLES} ranges among what is open; at the bound only what widens one of them goes, or the oldest.
 */
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export const DROP_POLICIES = ['oldest', 'downsample', 'keep-alarms'] as const;
export type DropPolicy = (typeof DROP_POLICIES)[number];

export const MAX_HOLES = 128;
/** Delivered batches are kept this long for a server that is restored from a backup. */
export const KEEP_DELIVERED_MS: Millis = 24 * 3_600_000;

/** Sequence numbers `from` … `to`, both inclusive, that go or stay together. */
export interface Segment {
  from: number;
  to: number;
  size: Bytes;
  /** Wall clock at its first record's commit. */
  at: Millis;
  alarms: number;
}

export interface Holding {
  /** Everything, what can not be dropped included. */
  totalBytes: Bytes;
  /** Sizes of delivered copies, oldest first. */
  kept(): Iterable<Bytes>;
  /** Batches that were never acknowledged and then unsealed records, oldest first; walked as often as it takes. */
  open(): Iterable<Segment>;
}

export interface Limits {
  capBytes: Bytes;
  policy: DropPolicy;
  /** What was committed before is too old; undefined: nothing is. */
  expiredBefore: Millis | undefined;
  /** How many ranges may still be opened. */
  newHoles: number;
}

export interface Drops {
  /** How many copies, from the oldest on. */
  kept: number;
  aged: Segment[];
  open: Segment[];
}

/** A commit before this was dated by a clock that had not been set: its age is that of what follows it. */
const CLOCK_UNSET_BEFORE: Millis = Date.UTC(2024, 0);

/** What has to go so that the stream fits its caps. `oldest` gives up the fewest; the others may a few more. */
export function planDrops(holding: Holding, limits: Limits): Drops {
  const aged = tooOld(holding.open(), limits.expiredBefore);
  let excess = holding.totalBytes - limits.capBytes - sizeOf(aged);
  let kept = 0;
  if (excess > 0) {
    for (const size of holding.kept()) {
      excess -= size;
      kept++;
      if (excess <= 0) break;
    }
  }
  const plan = new Plan(holding, aged.at(-1)?.to ?? -1, excess, limits.newHoles);
  if (limits.policy === 'keep-alarms') plan.calm();
  if (limits.policy === 'downsample') plan.thin();
  plan.oldest();
  return { kept, aged, open: plan.victims };
}

const sizeOf = (segments: readonly Segment[]): Bytes => segments.reduce((sum, { size }) => sum + size, 0);

/** A segment is too old when the one behind it is: only then its last record is known to be. */
function tooOld(open: Iterable<Segment>, before: Millis | undefined): Segment[] {
  if (before === undefined) return [];
  const passed: Segment[] = [];
  let count = 0;
  for (const segment of open) {
    const unset = segment.at < CLOCK_UNSET_BEFORE;
    if (!unset && segment.at >= before) break;
    if (!unset) count = passed.length;
    passed.push(segment);
  }
  return passed.slice(0, count);
}

class Plan {
  readonly victims: Segment[] = [];
  readonly #gone = new Set<number>();
  readonly #holding: Holding;
  readonly #after: number;
  #excess: Bytes;
  #newHoles: number;

  /** @param after what lies up to here goes anyway. */
  constructor(holding: Holding, after: number, excess: Bytes, newHoles: number) {
    this.#holding = holding;
    this.#after = after;
    this.#excess = excess;
    this.#newHoles = newHoles;
  }

  /** What is still there, with its surviving neighbours; ends when enough was given up. */
  *#survivors(): Iterable<{ before: Segment | undefined; segment: Segment; next: Segment | undefined }> {
    let before: Segment | undefined;
    let segment: Segment | undefined;
    for (const next of this.#holding.open()) {
      if (next.to <= this.#after || this.#gone.has(next.from)) continue;
      if (segment) yield { before, segment, next };
      if (this.#excess <= 0) return;
      if (segment && !this.#gone.has(segment.from)) before = segment;
      segment = next;
    }
    if (segment) yield { before, segment, next: undefined };
  }

  #give(segment: Segment): void {
    this.#gone.add(segment.from);
    this.victims.push(segment);
    this.#excess -= segment.size;
  }

  /** Gives `segment` up if that needs no range of its own, or there may be one more. */
  #giveBetween(before: Segment | undefined, segment: Segment, next: Segment | undefined): void {
    const beside = (before?.to ?? this.#after) + 1 < segment.from || (next && segment.to + 1 < next.from);
    if (!beside && this.#newHoles <= 0) return;
    if (!beside) this.#newHoles--;
    this.#give(segment);
  }

  oldest(): void {
    for (const { segment } of this.#survivors()) {
      if (this.#excess <= 0) return;
      this.#give(segment);
    }
  }

  calm(): void {
    for (const { before, segment, next } of this.#survivors()) {
      if (this.#excess <= 0) return;
      if (segment.alarms === 0) this.#giveBetween(before, segment, next);
    }
  }

  /** In rounds, each with twice the hole of the one before. The first and the last stay: they say how long it was. */
  thin(): void {
    let most = this.#smallestHole();
    while (this.#excess > 0 && most !== undefined) {
      let next: number | undefined;
      for (const around of this.#survivors()) {
        const hole = holeOf(around);
        if (hole === undefined || this.#excess <= 0) continue;
        if (hole > most) next = Math.min(next ?? hole, hole);
        else this.#giveBetween(around.before, around.segment, around.next);
      }
      most = next === undefined ? undefined : Math.max(next, 2 * most);
    }
  }

  #smallestHole(): number | undefined {
    if (this.#excess <= 0) return undefined;
    let smallest: number | undefined;
    for (const around of this.#survivors()) {
      const hole = holeOf(around);
      if (hole !== undefined) smallest = Math.min(smallest ?? hole, hole);
    }
    return smallest;
  }
}

/** Numbers between the neighbours, the segment's own included; undefined for the first and the last. */
function holeOf({
  before,
  next,
}: {
  before: Segment | undefined;
  next: Segment | undefined;
}): number | undefined {
  return before && next ? next.from - before.to - 1 : undefined;
}
