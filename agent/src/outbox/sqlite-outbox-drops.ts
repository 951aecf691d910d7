/** Giving up records at the cap or on a full disk, in a way that the server can still follow the chain. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { STREAMS, type Stream } from '@skein/protocol/topics.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type Drops, type Holding, planDrops } from './retention.ts';
import type { OutboxCore } from './sqlite-outbox-core.ts';
import { type BatchRow, UNSIGNED } from './sqlite-outbox-queries.ts';
import { lose } from './stream-state.ts';

/** Share of each stream's bytes that stays when the disk is full. */
const LEAVE_ON_FULL_DISK = 0.9;

/** Drops what exceeds the cap. @throws SkeinError DISK_FULL, DISK_FAILED: nothing was dropped then. */
export function keepWithinCap(core: OutboxCore, stream: Stream, capBytes: Bytes): void {
  if (core.totalBytes(stream) <= capBytes) return;
  const lost = core.write(() => drop(core, stream, planDrops(holding(core, stream), capBytes), 'cap'));
  report(core, stream, lost, 'cap');
}

/** Gives up the oldest tenth of everything; true when anything went. */
export function shrinkAll(core: OutboxCore): boolean {
  const sizes = STREAMS.map((stream) => core.totalBytes(stream));
  STREAMS.forEach((stream, i) => {
    const leave = Math.floor(sizes[i]! * LEAVE_ON_FULL_DISK);
    const drops = planDrops(holding(core, stream), leave);
    const lost = core.transaction(() => drop(core, stream, drops, 'disk-full'));
    report(core, stream, lost, 'disk-full');
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

/** Returns how many records were given up. */
function drop(core: OutboxCore, stream: Stream, drops: Drops, reason: string): number {
  core.queries.deleteOldestDone(stream, drops.kept);
  const batches = core.queries.oldestOpenData(stream, drops.pending);
  for (const row of batches) bridgeOver(core, stream, row, reason);
  const loose = core.chunks.spanOf(stream, drops.unsealed);
  if (loose) {
    core.chunks.delete(stream, loose);
    core.save(lose(core.state(stream), loose, 'dropped', reason));
  }
  return (loose?.records ?? 0) + batches.reduce((sum, row) => sum + row.n, 0);
}

const holding = (core: OutboxCore, stream: Stream): Holding => ({
  ...core.queries.sizes(stream),
  unsealed: core.chunks.sizes(stream),
});

/** Replaces a sealed batch by a bridge, or widens the one before when neither has ever been offered. */
function bridgeOver(core: OutboxCore, stream: Stream, row: BatchRow, reason: string): void {
  const run = { from: row.seq, to: row.to };
  core.save(lose(core.state(stream), run, 'dropped', reason));
  const before = row.offered ? undefined : core.queries.freshBridgeEndingAt(stream, row.from - 1);
  core.queries.deleteBatch(stream, row.from);
  if (before) {
    core.queries.updateBatch(stream, { ...before, to: row.to, head: row.head });
    return;
  }
  const doubt = row.offered ? [run] : [];
  const bridge = { ...row, seq: row.from, n: 0, size: 0, bridge: true, doubt, ...UNSIGNED };
  core.queries.insertBatch(stream, bridge);
}
