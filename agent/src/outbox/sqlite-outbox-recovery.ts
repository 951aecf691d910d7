/** When the server remembers another past than we do: restored from a backup, or on another chain altogether. */
import type { Stream } from '@skein/protocol/topics.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { Watermark } from './port.ts';
import { intersect, type Run, sizeOf } from './ranges.ts';
import type { RecordRow } from './sqlite-outbox-chunks.ts';
import type { OutboxCore } from './sqlite-outbox-core.ts';
import { type BatchRow, UNSIGNED } from './sqlite-outbox-queries.ts';
import { carryOver, recordsOf } from './sqlite-outbox-records.ts';
import { lose, newStream, recordsIn, regain } from './stream-state.ts';

/** Inside a transaction. False, and nothing changed, when the watermark does not lie on our chain. */
export function rewind(core: OutboxCore, { stream, upTo, head }: Watermark): boolean {
  const inside = core.queries.batchesFrom(stream, upTo + 1)[0];
  const cuts = inside !== undefined && inside.from <= upTo;
  if (cuts && !inside.bridge) return false;
  core.save({ ...core.state(stream), deliveredNext: upTo + 1, deliveredHead: head });
  core.queries.reopenDoubts(stream);
  if (cuts) splitBridge(core, stream, inside, { upTo, head });
  reopen(core, stream, { upTo, head });
  return true;
}

/** The direct answer to a bridge. Records that were given up twice over are lost at the server. */
export function settle(core: OutboxCore, stream: Stream, row: BatchRow, stored: boolean): void {
  if (stored && !row.regained) core.save(regain(core.state(stream), row.doubt));
  if (!stored && row.regained) loseStored(core, stream, row.doubt);
  const doneAt = core.options.clock.now();
  core.queries.updateBatch(stream, { ...row, regained: stored && row.doubt.length > 0, doneAt });
}

interface Mark {
  upTo: number;
  head: Sha256Hex;
}

/** What a bridge covers below the server's mark is stored there after all; the rest is told anew. */
function splitBridge(core: OutboxCore, stream: Stream, row: BatchRow, { upTo, head }: Mark): void {
  const below = intersect(row.doubt, { from: row.from, to: upTo });
  const above = intersect(row.doubt, { from: upTo + 1, to: row.to });
  if (row.regained) loseStored(core, stream, above);
  else core.save(regain(core.state(stream), below));
  core.queries.deleteBatch(stream, row.from);
  const rest = { ...row, from: upTo + 1, seq: upTo + 1, prev: head, doubt: above };
  core.queries.insertBatch(stream, { ...rest, doneAt: null, regained: false, ...UNSIGNED });
}

/** Makes every row from the mark on pending again and bridges the holes between them. */
function reopen(core: OutboxCore, stream: Stream, { upTo, head }: Mark): void {
  let next = { from: upTo + 1, prev: head };
  for (const row of core.queries.batchesFrom(stream, upTo + 1)) {
    bridgeHole(core, stream, { ...next, to: row.from - 1, head: row.prev });
    reopenRow(core, stream, row);
    next = { from: row.to + 1, prev: row.head };
  }
  const { sealedNext, head: sealedHead } = core.state(stream);
  bridgeHole(core, stream, { ...next, to: sealedNext - 1, head: sealedHead });
}

/** A hole is what was delivered and is no longer kept. */
function bridgeHole(
  core: OutboxCore,
  stream: Stream,
  hole: Run & { prev: Sha256Hex; head: Sha256Hex },
): void {
  if (hole.from > hole.to) return;
  const doubt = recordsIn(core.state(stream), hole);
  loseStored(core, stream, doubt);
  const more = { seq: hole.from, n: 0, firstAt: core.options.clock.now(), size: 0, alarms: 0, bridge: true };
  core.queries.insertBatch(stream, { ...hole, ...more, doneAt: null, regained: false, doubt, ...UNSIGNED });
}

/** Records that the server had and has no more, nor have we. */
function loseStored(core: OutboxCore, stream: Stream, runs: readonly Run[]): void {
  let state = core.state(stream);
  for (const run of runs) state = lose(state, run, 'lost', 'lost-at-server');
  core.save({ ...state, stored: state.stored - sizeOf(runs) });
}

function reopenRow(core: OutboxCore, stream: Stream, row: BatchRow): void {
  if (row.doneAt === null) return;
  if (row.regained) loseStored(core, stream, row.doubt);
  const state = core.state(stream);
  core.save({ ...state, stored: state.stored - row.n });
  const again = row.bridge ? { ...row, regained: false, ...UNSIGNED } : row;
  core.queries.updateBatch(stream, { ...again, doneAt: null });
}

/** Inside a transaction: see `Outbox.abandonEpoch`. */
export function abandonEpoch(core: OutboxCore, stream: Stream, upTo: number): void {
  const left = undelivered(core, stream);
  let state = core.state(stream);
  for (const { seq } of left.filter((record) => record.seq <= upTo)) {
    state = lose(state, { from: seq, to: seq }, 'unknown', 'epoch-abandoned');
  }
  const carried = left.filter((record) => record.seq > upTo);
  core.queries.clear(stream);
  core.chunks.clear(stream);
  const { epoch, ordinal } = core.newEpoch();
  const fresh = newStream(stream, epoch, Math.max(ordinal, state.ordinal + 1));
  const { accepted, stored, leftOut, untold, steps, losses } = state;
  core.save({ ...fresh, nextSeq: carried.length, accepted, stored, leftOut, untold, steps, losses });
  carryOver(core.chunks, stream, carried);
}

function undelivered(core: OutboxCore, stream: Stream): RecordRow[] {
  const sealed = core.queries.oldestOpenData(stream, Number.MAX_SAFE_INTEGER);
  const opened = sealed.flatMap((row) => recordsOf(row.bytes!, row.firstAt));
  return [...opened, ...core.chunks.allRecords(stream)];
}
