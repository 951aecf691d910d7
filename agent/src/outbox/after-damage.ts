/**
 * A stream's numbers after its database was damaged: a new epoch that begins with what could be read and was surely never
 * sent; everything else that was not known to be delivered is unknown, in exact ranges. Pure.
 */
import type { Seen } from './disk-witness.ts';
import { addLoss, type Loss, type Run, sizeOf, subtract } from './ranges.ts';
import { afterDestruction, newStream, type Reservation, type StreamState } from './stream-state.ts';

export interface Remains {
  /** As the damaged database still has it. */
  state: StreamState | undefined;
  /** As the witness saw it. */
  seen: Seen | undefined;
  /** The witness cannot have missed anything. */
  exact: boolean;
  reserved: Reservation | undefined;
  /** Losses that could be read. */
  losses: readonly Loss[];
}

/** The latest that anything proves: at most too many records accepted, never too few. */
export function lastKnown({ state, seen, exact, reserved, losses }: Remains): StreamState | undefined {
  const newest = newer(state, seen);
  if (!newest) return reserved;
  const known = mergeLosses(state?.losses ?? losses, reserved?.losses ?? []);
  const base: StreamState = {
    ...newStream(newest.stream, newest.epoch, newest.ordinal),
    ...newest,
    losses: known,
  };
  const certain = state !== undefined && newest.steps === state.steps ? true : exact;
  if (certain || reserved?.epoch !== base.epoch || reserved.nextSeq <= base.nextSeq) return base;
  const beyond = reserved.nextSeq - base.nextSeq;
  return { ...base, nextSeq: reserved.nextSeq, accepted: base.accepted + beyond };
}

const newer = (state: StreamState | undefined, seen: Seen | undefined): Seen | StreamState | undefined =>
  state && (!seen || state.steps >= seen.steps) ? state : seen;

/** Does the witness know of steps that the database has forgotten? */
export const hasForgotten = (state: StreamState | undefined, seen: Seen | undefined): boolean =>
  seen !== undefined && seen.steps > (state?.steps ?? 0);

function mergeLosses(losses: readonly Loss[], more: readonly Loss[]): readonly Loss[] {
  return more.reduce(
    (all, loss) =>
      subtract(
        loss,
        all.filter(({ epoch }) => epoch === loss.epoch),
      ).reduce((sum, part) => addLoss(sum, { ...loss, ...part }), all),
    losses,
  );
}

export interface Readable {
  /** Numbers of records that were read and never offered. */
  carried: readonly Run[];
  /** Numbers of records that were read, and the server may have them. */
  doubtful: readonly Run[];
}

/** The new epoch's state; its records are the carried ones, from 0 on. */
export function afterDamage(
  last: StreamState,
  { carried, doubtful }: Readable,
  { epoch, ordinal }: { epoch: string; ordinal: number },
): StreamState {
  const own = last.losses.filter((loss) => loss.epoch === last.epoch);
  const open = subtract({ from: last.deliveredNext, to: last.nextSeq - 1 }, own);
  let { losses } = last;
  const unknown = (run: Run, reason: string): void => {
    losses = addLoss(losses, { ...run, epoch: last.epoch, kind: 'unknown', reason });
  };
  for (const run of open)
    for (const part of subtract(run, carried)) {
      for (const lost of subtract(part, doubtful)) unknown(lost, 'database-destroyed');
      for (const doubt of subtract(part, subtract(part, doubtful))) unknown(doubt, 'maybe-delivered');
    }
  const fresh = newStream(last.stream, epoch, Math.max(ordinal, last.ordinal + 1));
  const { accepted, leftOut, untold, steps } = last;
  const count = sizeOf(carried);
  const missing = accepted - last.stored - sizeOf(losses) - count;
  const { stored, more } = balance(last, losses, missing);
  for (const run of more) unknown(run, 'database-destroyed');
  return { ...fresh, accepted, stored, leftOut, untold, steps, losses, nextSeq: count };
}

/**
 * Losses that could not be read any more leave the sum short: as many numbers below the delivered mark are unknown too.
 * A sum that is too large takes it from what counted as stored.
 */
function balance(
  { stored, deliveredNext, epoch }: StreamState,
  losses: readonly Loss[],
  missing: number,
): { stored: number; more: Run[] } {
  if (missing <= 0) return { stored: stored + missing, more: [] };
  const own = losses.filter((loss) => loss.epoch === epoch);
  const more: Run[] = [];
  let left = missing;
  for (const run of subtract({ from: 0, to: deliveredNext - 1 }, own).reverse()) {
    if (left === 0) break;
    const from = Math.max(run.from, run.to - left + 1);
    more.push({ from, to: run.to });
    left -= run.to - from + 1;
  }
  return { stored: stored + left, more };
}

/** Nothing was read, and only the mark is there. */
export const afterLoss = (
  reserved: Reservation | undefined,
  stream: StreamState['stream'],
  { epoch, ordinal }: { epoch: string; ordinal: number },
): StreamState => (reserved ? afterDestruction(reserved, epoch, ordinal) : newStream(stream, epoch, ordinal));
