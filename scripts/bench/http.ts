/**
 * The local API against what a user would write instead: fastify 5 and onnxruntime-node, the tensor's bytes in, the
 * answer's bytes out, one `session.run` a request. gas-v1 ([N, 128] float32 → [N, 6]) from the data folder, binary tensors,
 * keep-alive; both servers in processes of their own, the load in a third, in turns, medians of the rounds. Ours parses
 * and answers the whole Open Inference Protocol, theirs nothing.
 * (FastAPI is not measured: Debian has no onnxruntime for Python.)
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startDaemon, stopDaemon } from '../processes.ts';
import type { Emit } from './measurement.ts';

const ROOT = join(import.meta.dirname, '../..');
const MODEL = join(ROOT, '../shared/data/models/gas-v1.onnx');
const ROUNDS = 7;
const ROUND_MS = 1_500;
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

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function start(name: string, script: string, kind: Server['kind'], ...args: string[]): Promise<Server> {
  const daemon = await startDaemon({
    name,
    args: [join(ROOT, 'scripts/load', script), MODEL, ...args],
    env: process.env,
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

/** Every server in turn, so that a busy machine slows all. */
async function rounds(servers: readonly Server[], clients: number): Promise<Map<string, Load>> {
  const seen = new Map<string, Load[]>(servers.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS + 1; round++) {
    for (const server of servers) {
      const found = await load(server, clients);
      if (round > 0) seen.get(server.name)!.push(found);
    }
  }
  return new Map(
    [...seen].map(([name, loads]) => [
      name,
      {
        perSecond: median(loads.map((each) => each.perSecond)),
        p50Us: median(loads.map((each) => each.p50Us)),
      },
    ]),
  );
}

export async function run(emit: Emit): Promise<void> {
  if (!existsSync(MODEL)) {
    process.stderr.write('skipped: the data folder ../shared/data is not beside the project\n');
    return;
  }
  const servers = [
    await start('fastify + onnxruntime-node', 'peer-server.ts', 'raw'),
    await start('ours, inline', 'oip-server.ts', 'oip', 'inline'),
    await start('ours, worker', 'oip-server.ts', 'oip', 'worker'),
  ];
  const [peer, inline, worker] = servers.map(({ name }) => name) as [string, string, string];
  const bench = 'http';
  try {
    for (const clients of [CLIENTS, 1]) {
      const found = await rounds(servers, clients);
      const who = clients === 1 ? '1 client' : `${clients} clients`;
      for (const [name, { perSecond, p50Us }] of found) {
        emit({ bench, metric: `${who}: ${name}`, value: perSecond, unit: 'req/s', bar: null, holds: null });
        emit({ bench, metric: `${who}: ${name}, p50`, value: p50Us, unit: 'µs', bar: null, holds: null });
      }
      const [theirs, ours] = [found.get(peer)!, found.get(inline)!];
      if (clients > 1) {
        const value = ours.perSecond / theirs.perSecond;
        const metric = `${who}: inline / fastify`;
        emit({ bench, metric, value, unit: '×', bar: '≥ 2 ×', holds: value >= 2 });
        const beside = found.get(worker)!.perSecond / theirs.perSecond;
        emit({ bench, metric: `${who}: worker / fastify`, value: beside, unit: '×', bar: null, holds: null });
      } else {
        const value = ours.p50Us / theirs.p50Us;
        const metric = `${who}: p50, inline / fastify`;
        emit({ bench, metric, value, unit: '×', bar: '≤ 0.9 ×', holds: value <= 0.9 });
      }
    }
  } finally {
    for (const server of servers) await server.stop();
  }
}
