/**
 * A fleet comes back: every device connects over mTLS, with a backlog of batches, as soon as it may, to the server as it
 * ships. Done when each batch is durable and its signed acknowledgement was verified by its device. The time, the server's
 * memory, and what it counted; the load is one other process that opens at most 128 connections at a time.
 * 5,000 devices with SKEIN_LONG=1, 1,000 otherwise.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '@skein/fleet-server/store/sqlite-store.ts';
import { deviceIds, makeFleetState } from '../load/fleet-state.ts';
import { RECORDS } from '../load/made-batches.ts';
import { startFleetServer } from '../load/server.ts';
import type { StormResult, StormSettings } from '../load/storm.ts';
import { runToEnd, stopDaemon } from '../processes.ts';
import type { Emit } from './measurement.ts';

const DEVICES = process.env.SKEIN_LONG ? 5000 : 1000;
const BACKLOG = 4;
/** Of the process, whatever the fleet: sessions, queues and groups are bounded. */
const GROWTH_MIB = 100 + (DEVICES * 100) / 1024;

export async function run(emit: Emit): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-storm-'));
  try {
    await storm(dir, emit);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function storm(dir: string, emit: Emit): Promise<void> {
  const state = await makeFleetState(join(dir, 'server'), deviceIds(DEVICES));
  const server = await startFleetServer(dir);
  try {
    const before = server.memoryBytes().rss;
    const settings: StormSettings = { state, port: server.mqtts, backlog: BACKLOG };
    const file = join(dir, 'load.json');
    writeFileSync(file, JSON.stringify(settings), { mode: 0o600 });
    const cpu = server.cpuSeconds();
    const script = join(import.meta.dirname, '../load/storm.ts');
    const result = JSON.parse(await runToEnd([script, file], process.env)) as StormResult;
    const say = (
      metric: string,
      value: number,
      unit: string,
      bar: string | null = null,
      holds: boolean | null = null,
    ) => emit({ bench: 'storm', metric, value, unit, bar, holds });
    const batches = DEVICES * BACKLOG;
    say('devices that came back', DEVICES, '');
    say('batches acknowledged', result.acknowledged, '', `= ${batches}`, result.acknowledged === batches);
    say('all of them', result.seconds, 's');
    say('batches, connecting included', result.acknowledged / result.seconds, 'batches/s');
    say('processor time of the server', server.cpuSeconds() - cpu, 's');
    const grown = (server.memoryBytes().peak - before) / 2 ** 20;
    say('memory of the server before', before / 2 ** 20, 'MiB');
    say('its growth at the peak', grown, 'MiB', `≤ ${Math.round(GROWTH_MIB)}`, grown <= GROWTH_MIB);
    server.daemon.child.kill('SIGKILL');
    await server.daemon.exited;
    const kept = await storedRecords(join(dir, 'server', 'store.db'));
    const wanted = batches * RECORDS;
    say('records there after a kill', kept, '', `= ${wanted}`, kept === wanted);
  } finally {
    await stopDaemon(server.daemon);
  }
}

/** Counted in the batches themselves, not in what the server says it stored. */
async function storedRecords(path: string): Promise<number> {
  const store = await openSqliteStore(path);
  const row = await store
    .selectFrom('batches')
    .select((eb) => eb.fn.sum<number>('n').as('n'))
    .executeTakeFirstOrThrow();
  await store.destroy();
  return Number(row.n);
}
