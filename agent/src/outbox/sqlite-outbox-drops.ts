/** Giving up records at the caps or on a full disk, in a way that the server can still follow the chain. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import {
  type DropPolicy,
  type Drops,
  type Holding,
  type Limits,
  MAX_HOLES,
  planDrops,
  type Segment,
} from './retention.ts';
import type { OutboxCore } from './sqlite-outbox-core.ts';
import { type BatchRow, UNSIGNED } from './sqlite-outbox-queries.ts';
import { lose } from './stream-state.ts';

/** What one stream may hold. */
export interface StreamCaps {
  capBytes: Bytes;
  policy: DropPolicy;
  /** undefined: no record is too old. */
  expiredBefore: Millis | undefined;
}

/** Share of each stream's bytes that stays when the disk is full. */
const LEAVE_ON_FULL_DISK = 0.9;
/** Policies that look at everything look rarely: this share of the cap is freed at a time. */
const FREE_AT_ONCE = 1 / 64;
/** Ranges of one epoch: beyond that every policy is `oldest`, so that the ledger stays short. */
const MAX_RANGES = 4096;

/** Drops what exceeds the caps. @throws SkeinError DISK_FULL, DISK_FAILED: nothing was dropped then. */
export function keepWithin(core: OutboxCore, stream: Stream, caps: StreamCaps): void {
  const over = core.totalBytes(stream) > caps.capBytes;
  if (!over && !hasExpired(core, stream, caps)) return;
  const slack = over && caps.policy !== 'oldest' ? caps.capBytes * FREE_AT_ONCE : 0;
  const given = core.write(() => dropBy(core, stream, { ...caps, capBytes: caps.capBytes - slack }, 'cap'));
  for (const [reason, records] of Object.entries(given)) report(core, stream, records, reason);
}

function hasExpired(core: OutboxCore, stream: Stream, { expiredBefore }: StreamCaps): boolean {
  if (expiredBefore === undefined) return false;
  for (const { at } of open(core, stream)) return at < expiredBefore;
  return false;
}

/** Gives up a tenth of everything, by the streams' policies; true when anything went. */
export function shrinkAll(core: OutboxCore, capsOf: (stream: Stream) => StreamCaps): boolean {
  const sizes = STREAMS.map((stream) => core.totalBytes(stream));
  STREAMS.forEach((stream, i) => {
    const capBytes = Math.floor(sizes[i]! * LEAVE_ON_FULL_DISK);
    const limits = { ...capsOf(stream), capBytes };
    const given = core.transaction(() => dropBy(core, stream, limits, 'disk-full'));
    for (const [reason, records] of Object.entries(given)) report(core, stream, records, reason);
  });
  return sizes.some((size) => size > 0);
}

function report(core: OutboxCore, stream: Stream, records: number, reason: string): void {
  if (records === 0) return;
  core.options.trouble(
    new SkeinError('DISK_FULL', `outbox: ${records} ${stream} records dropped (${reason})`, {
      fix: 'Restore the connection, free space, or raise the cap of this stream.',
      data: { stream, records, reason },
    }),
  );
}

/** Returns how many records were given up for which reason. */
function dropBy(core: OutboxCore, stream: Stream, caps: StreamCaps, reason: string): Record<string, number> {
  const plan = planDrops(holding(core, stream), limitsOf(core, stream, caps));
  core.queries.deleteOldestDone(stream, plan.kept);
  return { age: give(core, stream, plan.aged, 'age'), [reason]: give(core, stream, inOrder(plan), reason) };
}

const inOrder = ({ open }: Drops): Segment[] => [...open].sort((a, b) => a.from - b.from);

function limitsOf(core: OutboxCore, stream: Stream, caps: StreamCaps): Limits {
  const { deliveredNext, epoch, losses } = core.state(stream);
  const own = losses.filter((loss) => loss.epoch === epoch);
  const holes = own.filter((loss) => loss.from >= deliveredNext).length;
  return { ...caps, newHoles: Math.min(MAX_HOLES - holes, MAX_RANGES - own.length) };
}

const holding = (core: OutboxCore, stream: Stream): Holding => ({
  totalBytes: core.totalBytes(stream),
  kept: () => core.queries.keptSizes(stream, core.state(stream).deliveredNext),
  open: () => open(core, stream),
});

function* open(core: OutboxCore, stream: Stream): Iterable<Segment> {
  yield* core.queries.segments(stream);
  yield* core.chunks.segments(stream);
}

/** @param segments in order */
function give(core: OutboxCore, stream: Stream, segments: readonly Segment[], reason: string): number {
  let records = 0;
  for (const segment of segments) {
    const row = core.queries.batchAt(stream, segment.from);
    if (row) {
      bridgeOver(core, stream, row, reason);
      records += row.n;
    } else {
      core.chunks.delete(stream, segment);
      core.save(lose(core.state(stream), segment, 'dropped', reason));
      records += segment.to - segment.from + 1;
    }
  }
  return records;
}

/** Replaces a sealed batch by a bridge; bridges that were never offered become one with their neighbours. */
function bridgeOver(core: OutboxCore, stream: Stream, row: BatchRow, reason: string): void {
  const run = { from: row.seq, to: row.to };
  core.save(lose(core.state(stream), run, 'dropped', reason));
  const before = row.offered ? undefined : core.queries.freshBridgeEndingAt(stream, row.from - 1);
  const after = row.offered ? undefined : core.queries.freshBridgeFrom(stream, row.to + 1);
  core.queries.deleteBatch(stream, row.from);
  if (after) core.queries.deleteBatch(stream, after.from);
  const { to, head } = after ?? row;
  if (before) {
    core.queries.updateBatch(stream, { ...before, to, head });
    return;
  }
  const doubt = row.offered ? [run] : [];
  const bridge = {
    ...row,
    to,
    head,
    seq: row.from,
    n: 0,
    size: 0,
    alarms: 0,
    bridge: true,
    doubt,
    ...UNSIGNED,
  };
  core.queries.insertBatch(stream, bridge);
}
