/**
 * The local API against what a user would write instead: fastify 5 and onnxruntime-node, the tensor's bytes in, the
 * answer's bytes out, one `session.run` a request. gas-v1 ([N, 128] float32 → [N, 6]) from the data folder, binary tensors,
 * keep-alive; both servers in processes of their own, the load in a third, in turns. Ours parses and answers the whole
 * Open Inference Protocol, on Node as the package starts it (a small young generation, one helper thread); theirs neither,
 * on Node as it comes. Figures are medians of the rounds; a ratio is the median of each round's own,
 * because what else the machine does changes more between rounds than within one.
 * (FastAPI is not measured: Debian has no onnxruntime for Python.)
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { asShipped, type HowNodeStarts } from '../as-shipped.ts';
import { startDaemon, stopDaemon } from '../processes.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const ROOT = join(import.meta.dirname, '../..');
const MODEL = join(ROOT, '../shared/data/models/gas-v1.onnx');
const ROUNDS = 25;
const ROUND_MS = 400;
const CLIENTS = 16;

interface Load {
  perSecond: number;
  p50Us: number;
}
interface Server {
  name: string;
  kind: 'oip' | 'raw';
  port: number;
  stop(): Promise<unknown>;
}

async function start(
  name: string,
  kind: Server['kind'],
  [script, ...rest]: [script: string, ...string[]],
  how: HowNodeStarts = { flags: [], env: {} },
): Promise<Server> {
  const daemon = await startDaemon({
    name,
    args: [...how.flags, join(ROOT, 'scripts/load', script), MODEL, ...rest],
    env: { ...process.env, ...how.env },
    logFile: '/dev/null',
    readyWithinMs: 30_000,
  });
  return { name, kind, port: Number(daemon.ready.port), stop: () => stopDaemon(daemon) };
}

async function load({ port, kind }: Server, clients: number): Promise<Load> {
  const daemon = await startDaemon({
    name: 'load',
    args: [join(ROOT, 'scripts/load/clients.ts'), String(port), kind, String(clients), String(ROUND_MS)],
    env: process.env,
    logFile: '/dev/null',
    readyWithinMs: 30_000,
  });
  await daemon.exited;
  return daemon.ready as unknown as Load;
}

/** Every server in turn, so that a busy machine slows all, and each round another one first. @returns by server, round by round */
async function rounds(servers: readonly Server[], clients: number): Promise<Load[][]> {
  const seen: Load[][] = servers.map(() => []);
  for (let round = 0; round < ROUNDS + 1; round++) {
    for (let turn = 0; turn < servers.length; turn++) {
      const next = (round + turn) % servers.length;
      const found = await load(servers[next]!, clients);
      if (round > 0) seen[next]!.push(found);
    }
  }
  return seen;
}

const ratioOf = (what: keyof Load, ours: readonly Load[], theirs: readonly Load[]): number =>
  median(ours.map((load, round) => load[what] / theirs[round]![what]));

export async function run(emit: Emit): Promise<void> {
  if (!existsSync(MODEL)) {
    process.stderr.write('skipped: the data folder ../shared/data is not beside the project\n');
    return;
  }
  const servers = [
    await start('fastify + onnxruntime-node', 'raw', ['peer-server.ts']),
    await start('ours, inline', 'oip', ['oip-server.ts', 'inline'], asShipped()),
    await start('ours, worker', 'oip', ['oip-server.ts', 'worker'], asShipped()),
  ];
  try {
    for (const clients of [CLIENTS, 1]) report(emit, servers, clients, await rounds(servers, clients));
  } finally {
    for (const server of servers) await server.stop();
  }
}

function report(emit: Emit, servers: readonly Server[], clients: number, found: readonly Load[][]): void {
  const bench = 'http';
  const who = clients === 1 ? '1 client' : `${clients} clients`;
  const unbound = { bar: null, holds: null };
  for (const [i, { name }] of servers.entries()) {
    const perSecond = median(found[i]!.map((load) => load.perSecond));
    const p50Us = median(found[i]!.map((load) => load.p50Us));
    emit({ bench, metric: `${who}: ${name}`, value: perSecond, unit: 'req/s', ...unbound });
    emit({ bench, metric: `${who}: ${name}, p50`, value: p50Us, unit: 'µs', ...unbound });
  }
  const [theirs, inline, worker] = found as [Load[], Load[], Load[]];
  if (clients === 1) {
    const value = ratioOf('p50Us', inline, theirs);
    const metric = `${who}: p50, inline / fastify`;
    emit({ bench, metric, value, unit: '×', bar: '≤ 0.9 ×', holds: value <= 0.9 });
    return;
  }
  const value = ratioOf('perSecond', inline, theirs);
  emit({ bench, metric: `${who}: inline / fastify`, value, unit: '×', bar: '≥ 2 ×', holds: value >= 2 });
  const beside = ratioOf('perSecond', worker, theirs);
  emit({ bench, metric: `${who}: worker / fastify`, value: beside, unit: '×', ...unbound });
}
