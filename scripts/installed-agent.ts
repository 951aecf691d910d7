/**
 * The agent as its package installs it, enrolled at a server on this machine with the host model committed: for measuring
 * what people really run instead of what developers do. The server and everything on disk go when it is closed.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Daemon, startDaemon, stopDaemon } from './processes.ts';
import { buildAndUnpack } from './release/unpack.ts';
import { startStack } from './stack.ts';
import { readRecording } from './train/recording.ts';

const HOST = join(import.meta.dirname, '..', 'models', 'host');
const FIRST_MODEL_WITHIN_MS = 60_000;
const ANY_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };

export interface RunningAgent {
  readonly pid: number;
  readonly api: string;
  stop(): Promise<void>;
}

export interface InstalledAgent {
  /** Folder of the installed package. */
  readonly root: string;
  start(): Promise<RunningAgent>;
  close(): Promise<void>;
}

interface Status {
  models: unknown[];
  pipelines: { predictions: number }[];
}

/** Polls until a pipeline has predicted; the poll is short because it is what is measured. */
export async function untilPredicted(api: string, withinMs = FIRST_MODEL_WITHIN_MS): Promise<void> {
  const end = performance.now() + withinMs;
  for (;;) {
    const status = (await (await fetch(`${api}/status`)).json()) as Status;
    if (status.pipelines.some(({ predictions }) => predictions > 0)) return;
    if (performance.now() > end) throw new SkeinError('INTERNAL', `no prediction within ${withinMs} ms`);
    await new Promise((wake) => setTimeout(wake, 4));
  }
}

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
  await untilPredicted(`http://127.0.0.1:${stack.ports.agent}`);
  await stopDaemon(stack.agent);
  say('building the package');
  const unpacked = await buildAndUnpack(process.arch === 'arm64' ? 'arm64' : 'amd64', 'fast');
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
    CACHE_DIRECTORY: join(folder, 'cache'),
  };
  const start = async (): Promise<RunningAgent> => {
    const daemon: Daemon = await startDaemon({
      name: 'installed agent',
      program: join(unpacked.root, 'usr', 'bin', 'skein-agent'),
      args: ['run', '--config', configFile],
      env,
      logFile: join(folder, 'logs', 'installed.log'),
      readyWithinMs: 30_000,
    });
    return {
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
