/**
 * One stream's numbers, as values: every step of the outbox takes a state and gives the next, and the adapter
 * stores it in the same transaction as the rows it speaks of.
 *
 * Invariants, for every stored state:
 *   accepted = stored + (records in rows not yet delivered) + Σ losses
 *   deliveredNext ≤ sealedNext ≤ nextSeq, all numbers of `epoch`
 *   `head` is the chain head after sealedNext − 1, `deliveredHead` the one after deliveredNext − 1
 *   every number below sealedNext lies in exactly one batch row or was delivered and is no longer kept
 */
import { type BatchHeader, type Gap, NO_HEAD } from '@skein/protocol/batch/header.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { SeqRange, StreamLedger } from './port.ts';
import {
  addLoss,
  gapsIn,
  type Loss,
  type LossKind,
  lossesIn,
  type Run,
  removeLoss,
  sizeOf,
  subtract,
} from './ranges.ts';

export interface StreamState {
  stream: Stream;
  epoch: string;
  ordinal: number;
  nextSeq: number;
  sealedNext: number;
  head: Sha256Hex;
  deliveredNext: number;
  deliveredHead: Sha256Hex;
  /** Over all epochs. */
  accepted: number;
  stored: number;
  /** Results that sampling did not keep, over all epochs: they have no numbers. */
  leftOut: number;
  /** Of these, what no record speaks for yet. */
  untold: number;
  /** How often it was written, over all epochs. */
  steps: number;
  losses: readonly Loss[];
}

/** What outlives a destroyed database: a state whose `nextSeq` and `accepted` are not yet reached. */
export type Reservation = StreamState;

export const newStream = (stream: Stream, epoch: string, ordinal: number): StreamState => ({
  stream,
  epoch,
  ordinal,
  nextSeq: 0,
  sealedNext: 0,
  head: NO_HEAD,
  deliveredNext: 0,
  deliveredHead: NO_HEAD,
  accepted: 0,
  stored: 0,
  leftOut: 0,
  untold: 0,
  steps: 0,
  losses: [],
});

/** A state that stays true for the next `block` records: what to write beside the database before they come. */
export const reserve = (state: StreamState, block: number): Reservation => ({
  ...state,
  nextSeq: state.nextSeq + block,
  accepted: state.accepted + block,
});

/** After the database was destroyed: what was not known to be delivered is unknown, at most what was reserved. */
export function afterDestruction(reserved: Reservation, epoch: string, ordinal: number): StreamState {
  const own = reserved.losses.filter((loss) => loss.epoch === reserved.epoch);
  const open = subtract({ from: reserved.deliveredNext, to: reserved.nextSeq - 1 }, own);
  let losses = reserved.losses;
  for (const run of open) {
    losses = addLoss(losses, {
      ...run,
      epoch: reserved.epoch,
      kind: 'unknown',
      reason: 'database-destroyed',
    });
  }
  const { accepted, stored, leftOut, untold, steps } = reserved;
  return {
    ...newStream(reserved.stream, epoch, Math.max(ordinal, reserved.ordinal + 1)),
    accepted,
    stored,
    leftOut,
    untold,
    steps,
    losses,
  };
}

/** @param leftOut results that sampling left out before them; what was untold is told with them */
export const accept = (state: StreamState, count: number, leftOut = 0): StreamState => ({
  ...state,
  nextSeq: state.nextSeq + count,
  accepted: state.accepted + count,
  leftOut: state.leftOut + leftOut,
  untold: 0,
});

export const lose = (
  state: StreamState,
  { from, to }: Run,
  kind: Loss['kind'],
  reason: string,
  epoch: string = state.epoch,
): StreamState => ({ ...state, losses: addLoss(state.losses, { epoch, from, to, kind, reason }) });

export interface Identity {
  fleet: string;
  device: string;
}

/** The header of the next batch: gaps since the last one, then `n` records from `seq` on, kept of `observed` results. */
export function nextHeader(
  state: StreamState,
  id: Identity,
  { seq, n, observed = n }: { seq: number; n: number; observed?: number },
): BatchHeader {
  const gaps = gapsIn(state.losses, state.epoch, { from: state.sealedNext, to: seq - 1 });
  return header(state, id, { seq, n, observed, prev: state.head, gaps, bridge: null });
}

export interface BridgeRow extends Run {
  prev: Sha256Hex;
  head: Sha256Hex;
}

export function bridgeHeader(state: StreamState, id: Identity, row: BridgeRow): BatchHeader {
  const gaps = gapsIn(state.losses, state.epoch, row);
  return header(state, id, { seq: row.from, n: 0, observed: 0, prev: row.prev, gaps, bridge: row.head });
}

function header(
  { stream, epoch, ordinal }: StreamState,
  id: Identity,
  more: Pick<BatchHeader, 'seq' | 'n' | 'observed' | 'prev' | 'bridge'> & { gaps: Gap[] },
): BatchHeader {
  return { v: 1, ...id, stream, epoch, ordinal, kept: more.n, ...more };
}

export const afterSeal = (state: StreamState, nextSeq: number, head: Sha256Hex): StreamState => ({
  ...state,
  sealedNext: nextSeq,
  head,
});

/** Numbers of `run` that no loss explains: the records that were in it. */
export const recordsIn = (state: StreamState, run: Run): Run[] =>
  subtract(run, lossesIn(state.losses, state.epoch, run));

/** A bridge whose records turn out to be stored: they are no loss any more. */
export function regain(state: StreamState, doubt: readonly Run[]): StreamState {
  const losses = doubt.reduce<readonly Loss[]>(
    (left, run) => removeLoss(left, state.epoch, run),
    state.losses,
  );
  return { ...state, losses, stored: state.stored + sizeOf(doubt) };
}

type Kept = Omit<StreamLedger, 'pending' | 'pendingBytes' | 'oldestPendingAt' | 'waiting' | 'refused'>;

/** All of the ledger but what rows have to tell. */
export function ledgerOf({ stream, epoch, accepted, stored, leftOut, losses }: StreamState): Kept {
  const of = (kind: LossKind) =>
    losses.filter((loss) => loss.kind === kind).map(({ kind: _, ...run }): SeqRange => run);
  const ranges = { droppedRanges: of('dropped'), lostRanges: of('lost'), unknownRanges: of('unknown') };
  return {
    stream,
    epoch,
    observed: accepted + leftOut,
    accepted,
    stored,
    dropped: sizeOf(ranges.droppedRanges),
    lostAtServer: sizeOf(ranges.lostRanges),
    unknown: sizeOf(ranges.unknownRanges),
    ...ranges,
  };
}
