/**
 * The agent as its package installs it, enrolled at a server on this machine with the host model committed: for measuring
 * what people really run instead of what developers do. The server and everything on disk go when it is closed.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { FIRST_PREDICTION } from '@skein/agent/first-prediction.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { beginDaemon, type Daemon, stopDaemon } from './processes.ts';
import { command } from './release/command.ts';
import { buildAndUnpack } from './release/unpack.ts';
import { startStack } from './stack.ts';
import { readRecording } from './train/recording.ts';

const HOST = join(import.meta.dirname, '..', 'models', 'host');
/** A rollout's own probation goes before it. */
const COMMITTED_WITHIN_MS = 300_000;
const PREDICTED_WITHIN_MS = 60_000;
const ANY_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };

export interface RunningAgent {
  readonly pid: number;
  readonly api: string;
  /** Milliseconds from the start of its wrapper to its first prediction, as it said so itself. */
  readonly predictedMs: Promise<number>;
  stop(): Promise<void>;
}

export interface InstalledAgent {
  /** Folder of the installed package. */
  readonly root: string;
  /** @param compiled false: its cache is empty, as after an installation. Default: true. */
  start(compiled?: boolean): Promise<RunningAgent>;
  close(): Promise<void>;
}

interface Status {
  updates: { committed: string | null; phase: string }[];
}

async function until(api: string, holds: (status: Status) => boolean, everyMs: number, withinMs: number) {
  const end = performance.now() + withinMs;
  for (;;) {
    if (holds((await (await fetch(`${api}/status`)).json()) as Status)) return;
    if (performance.now() > end)
      throw new SkeinError('INTERNAL', `the agent at ${api} is not ready after ${withinMs} ms`);
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}

const untilCommitted = (api: string): Promise<void> => {
  const done = ({ updates }: Status) =>
    updates.some(({ committed, phase }) => committed !== null && phase === 'idle');
  return until(api, done, 500, COMMITTED_WITHIN_MS);
};

/** One recorded minute of this kind of machine, so that a reading is there at once. */
function writeRecording(file: string, features: readonly string[]): void {
  const rows = readRecording(join(HOST, 'recording.csv.gz')).flat().slice(0, 60);
  const lines = rows.map((row) =>
    JSON.stringify(Object.fromEntries(features.map((name, i) => [name, row[i]]))),
  );
  writeFileSync(file, `${lines.join('\n')}\n`);
}

const config = (stateDir: string) => `stateDir: ${stateDir}
sources:
  - name: recorded
    kind: jsonl
    path: recorded.jsonl
    loop: true
    model: host
`;

/** @param say what is being done, for a person who waits. */
export async function installAgent(say: (step: string) => void): Promise<InstalledAgent> {
  const { default: manifest } = (await import(join(HOST, 'bundle', 'manifest.json'), {
    with: { type: 'json' },
  })) as { default: { preprocess: { features: string[] } } };
  const folder = mkdtempSync(join(tmpdir(), 'skein-installed-'));
  const stack = await startStack({ stateDir: folder, ports: ANY_PORTS, say });
  say('waiting until the host model has been through its probation');
  await untilCommitted(`http://127.0.0.1:${stack.ports.agent}`);
  await stopDaemon(stack.agent);
  say('building the package');
  const unpacked = await buildAndUnpack(process.arch === 'arm64' ? 'arm64' : 'amd64', 'fast');
  // Pages of a file that has not reached the disk yet would count as the agent's own dirty memory.
  await command('sync', ['-f', unpacked.root]);
  const stateDir = join(folder, 'agent');
  const configFile = join(stateDir, 'measured.yaml');
  writeRecording(join(stateDir, 'recorded.jsonl'), manifest.preprocess.features);
  writeFileSync(configFile, config(stateDir));
  const { PATH, HOME } = process.env;
  const env = {
    PATH,
    HOME,
    SKEIN_DEVICE_URL: `https://localhost:${stack.ports.device}`,
    SKEIN_MQTT_URL: `mqtts://localhost:${stack.ports.mqtts}`,
    SKEIN_AGENT_PORT: '0',
  };
  const kept = join(folder, 'cache');
  const start = async (compiled = true): Promise<RunningAgent> => {
    const started = performance.now();
    const begun = beginDaemon({
      name: 'installed agent',
      program: join(unpacked.root, 'usr', 'bin', 'skein-agent'),
      args: ['run', '--config', configFile],
      env: { ...env, CACHE_DIRECTORY: compiled ? kept : mkdtempSync(join(folder, 'empty-')) },
      logFile: join(folder, 'logs', 'installed.log'),
      readyWithinMs: 30_000,
      withoutLifeLine: true,
    });
    const predictedMs = new Promise<number>((resolve, reject) => {
      const late = () => reject(new SkeinError('INTERNAL', `no prediction within ${PREDICTED_WITHIN_MS} ms`));
      setTimeout(late, PREDICTED_WITHIN_MS).unref();
      createInterface({ input: begun.child.stderr! }).on('line', (line) => {
        if (line.includes(`"${FIRST_PREDICTION}"`)) resolve(performance.now() - started);
      });
    });
    // Whoever does not wait for it is not to fail by it.
    predictedMs.catch(() => {});
    const daemon: Daemon = await begun.ready;
    return {
      predictedMs,
      pid: daemon.child.pid!,
      api: String(daemon.ready.api),
      stop: async () => void (await stopDaemon(daemon)),
    };
  };
  return {
    root: unpacked.root,
    start,
    async close() {
      await stopDaemon(stack.server);
      unpacked.remove();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
