/**
 * Sets of sequence numbers with a reason, as sorted runs: what was dropped, lost at the server, or is unknown.
 * Invariant: within one (epoch, kind, reason) no two runs touch, and no number is in two runs of one epoch.
 */
import { type Gap, MAX_GAPS } from '@skein/protocol/batch/header.ts';
import type { SeqRange } from './port.ts';

export type LossKind = 'dropped' | 'lost' | 'unknown';

export interface Loss extends SeqRange {
  kind: LossKind;
}

export interface Run {
  from: number;
  to: number;
}

export const sizeOf = (runs: readonly Run[]): number =>
  runs.reduce((sum, run) => sum + run.to - run.from + 1, 0);

/** The parts of `run` that are in none of `holes`. */
export function subtract(run: Run, holes: readonly Run[]): Run[] {
  let rest: Run[] = run.from <= run.to ? [run] : [];
  for (const hole of holes) {
    rest = rest.flatMap((part) => {
      if (hole.to < part.from || hole.from > part.to) return [part];
      const left = { from: part.from, to: hole.from - 1 };
      const right = { from: hole.to + 1, to: part.to };
      return [left, right].filter((piece) => piece.from <= piece.to);
    });
  }
  return rest;
}

/** The parts of `runs` that lie inside `frame`. */
export const intersect = (runs: readonly Run[], frame: Run): Run[] =>
  runs
    .map((run) => ({ from: Math.max(run.from, frame.from), to: Math.min(run.to, frame.to) }))
    .filter((run) => run.from <= run.to);

/** Adds a run, joining it with neighbours of the same epoch, kind and reason. */
export function addLoss(losses: readonly Loss[], loss: Loss): Loss[] {
  const same = (other: Loss): boolean =>
    other.epoch === loss.epoch && other.kind === loss.kind && other.reason === loss.reason;
  const touching = losses.filter((o) => same(o) && o.to >= loss.from - 1 && o.from <= loss.to + 1);
  const joined = {
    ...loss,
    from: Math.min(loss.from, ...touching.map((o) => o.from)),
    to: Math.max(loss.to, ...touching.map((o) => o.to)),
  };
  return [...losses.filter((o) => !touching.includes(o)), joined];
}

/** Takes a run of one epoch out again, whatever its kind. */
export function removeLoss(losses: readonly Loss[], epoch: string, run: Run): Loss[] {
  return losses.flatMap((loss) =>
    loss.epoch === epoch ? subtract(loss, [run]).map((part) => ({ ...loss, ...part })) : [loss],
  );
}

export const lossesIn = (losses: readonly Loss[], epoch: string, run: Run): Loss[] =>
  losses
    .filter((loss) => loss.epoch === epoch && loss.from <= run.to && loss.to >= run.from)
    .map((loss) => ({ ...loss, from: Math.max(loss.from, run.from), to: Math.min(loss.to, run.to) }))
    .sort((a, b) => a.from - b.from);

/** The losses inside `run` as a batch states them: neighbours of one reason joined, at most {@link MAX_GAPS}. */
export function gapsIn(losses: readonly Loss[], epoch: string, run: Run): Gap[] {
  const gaps: Gap[] = [];
  for (const { from, to, reason } of lossesIn(losses, epoch, run)) {
    const last = gaps.at(-1);
    if (last?.reason === reason && last.to === from - 1) last.to = to;
    else gaps.push({ from, to, reason });
  }
  return gaps.length <= MAX_GAPS ? gaps : [{ from: run.from, to: run.to, reason: 'several' }];
}
