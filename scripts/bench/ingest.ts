/**
 * Signed batches of 50 records a second that the fleet server verifies, commits (WAL, FULL) and acknowledges, counted
 * when the signed acknowledgement has come back and been verified; beside the PUBACKs a second of Debian's Mosquitto
 * without storage for the same bytes. Both over mTLS on loopback, as the product runs: the server is `main.ts` itself,
 * with fleet view, sinks and metrics. 64 devices with four batches in flight each, in one other process; runs take
 * turns and the median counts.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isOnPath } from '../apt-tools.ts';
import { deviceIds, type FleetState, makeFleetState } from '../load/fleet-state.ts';
import { RECORDS } from '../load/made-batches.ts';
import { startBroker } from '../load/mosquitto.ts';
import { startFleetServer } from '../load/server.ts';
import type { UplinkOrder, UplinkResult, UplinkSettings } from '../load/uplink.ts';
import { stopDaemon } from '../processes.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const DEVICES = 64;
const WARM_UP = 16;
const PER_ROUND = 48;
const ROUNDS = 5;
const BATCHES_PER_SECOND = 1_000;
const SHARE_OF_PEER = 0.7;

interface Load {
  send(order: UplinkOrder): Promise<UplinkResult>;
  stop(): void;
}

async function startLoad(dir: string, state: FleetState, targets: UplinkSettings['targets']): Promise<Load> {
  const settings: UplinkSettings = { state, targets, batches: WARM_UP + ROUNDS * PER_ROUND };
  const file = join(dir, 'load.json');
  writeFileSync(file, JSON.stringify(settings), { mode: 0o600 });
  const script = join(import.meta.dirname, '../load/uplink.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<UplinkResult> => {
    const { value, done } = await lines.next();
    const said = done ? { error: 'the load has stopped' } : JSON.parse(value);
    if (said.error) throw new Error(`load: ${said.error}`);
    return said;
  };
  await next();
  return {
    send(order) {
      child.stdin.write(`${JSON.stringify(order)}\n`);
      return next();
    },
    stop: () => void child.kill('SIGKILL'),
  };
}

export async function run(emit: Emit): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-ingest-'));
  const state = await makeFleetState(join(dir, 'server'), deviceIds(DEVICES));
  const server = await startFleetServer(dir);
  const peer = isOnPath('mosquitto') ? await startBroker(dir, state) : undefined;
  let load: Load | undefined;
  try {
    load = await startLoad(dir, state, [
      { name: 'skein', port: server.mqtts, answerBy: 'signed-ack' },
      ...(peer ? [{ name: 'mosquitto', port: peer.port, answerBy: 'puback' as const }] : []),
    ]);
    await measure(load, peer !== undefined, emit, () => server.cpuSeconds());
  } finally {
    load?.stop();
    await peer?.stop();
    await stopDaemon(server.daemon);
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measure(load: Load, withPeer: boolean, emit: Emit, cpuSeconds: () => number): Promise<void> {
  const [ours, theirs]: UplinkResult[][] = [[], []];
  await load.send({ target: 'skein', count: WARM_UP });
  if (withPeer) await load.send({ target: 'mosquitto', count: WARM_UP });
  let busy = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const before = cpuSeconds();
    ours!.push(await load.send({ target: 'skein', count: PER_ROUND }));
    busy += cpuSeconds() - before;
    if (withPeer) theirs!.push(await load.send({ target: 'mosquitto', count: PER_ROUND }));
  }
  const rates = (results: UplinkResult[]) => median(results.map((r) => r.batches / r.seconds));
  const say = (
    metric: string,
    value: number,
    unit: string,
    bar: string | null = null,
    holds: boolean | null = null,
  ) => emit({ bench: 'ingest', metric, value, unit, bar, holds });
  const rate = rates(ours!);
  const other = withPeer ? rates(theirs!) : Number.POSITIVE_INFINITY;
  const bar = Math.min(BATCHES_PER_SECOND, SHARE_OF_PEER * other);
  if (withPeer) say('mosquitto, PUBACK, nothing stored', other, 'batches/s');
  say('stored and acknowledged', rate, 'batches/s', `≥ ${Math.round(bar)}`, rate >= bar);
  say('records in them', rate * RECORDS, 'records/s');
  say('processor time of the server', (1e6 * busy) / (ROUNDS * PER_ROUND * DEVICES), 'µs/batch');
  say('batch to signed ack, p50', median(ours!.map((r) => r.p50Ms)), 'ms');
  say('batch to signed ack, p99', median(ours!.map((r) => r.p99Ms)), 'ms');
  say('processor time of the load', median(ours!.map((r) => (1e6 * r.cpuSeconds) / r.batches)), 'µs/batch');
}
