/** What an operator does in a flow test: the real commands in processes of their own, looking until something holds. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { AgentStatus } from '@skein/agent/api/status.ts';
import { type OpenedBatch, openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { EventRecord, PredictionRecord, RecordOf, UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import Database from 'better-sqlite3';
import { type Stack, startStack } from '../../scripts/stack.ts';

export const ROOT = join(import.meta.dirname, '../..');
export const SKEIN = join(ROOT, 'fleet-server/src/cli/skein.ts');
export const AGENT = join(ROOT, 'agent/src/main.ts');
export const FREE_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };

export interface Said {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs one of our programs to its end, whatever its exit code. */
export const runProgram = (program: string, args: string[], env: NodeJS.ProcessEnv): Promise<Said> =>
  new Promise((resolve) => {
    const options = { env, timeout: 60_000, maxBuffer: 1 << 26 };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      const status = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ status, stdout, stderr });
    });
  });

/** Asks again until it holds. @throws Error with the last answer when it never did */
export async function until<T>(
  ask: () => T | Promise<T>,
  holds: (value: T) => boolean,
  withinMs = 60_000,
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await ask();
    if (holds(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`not within ${withinMs} ms; last seen: ${JSON.stringify(value)?.slice(0, 2_000)}`);
    }
    await new Promise((wake) => setTimeout(wake, 100));
  }
}

export class Operator {
  readonly stateDir: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(stateDir: string) {
    this.stateDir = stateDir;
    this.#env = { ...process.env, SKEIN_STATE_DIR: stateDir, NODE_NO_WARNINGS: '1' };
  }

  skein(...args: string[]): Promise<Said> {
    return runProgram(SKEIN, args, this.#env);
  }

  /** What a command prints with `-o json`. @throws Error with what it said */
  async json<T>(...args: string[]): Promise<T> {
    const said = await this.skein(...args, '-o', 'json');
    if (said.status === 0) return JSON.parse(said.stdout) as T;
    throw new Error(`skein ${args.join(' ')} ended with ${said.status}:\n${said.stderr}`);
  }

  /** Publishes a bundle and rolls it out to everybody at once, unless told otherwise. */
  async rollOut(bundle: string, model: string, ...options: string[]): Promise<RolloutView> {
    await this.json('models', 'publish', bundle);
    const stages = options.includes('--stages') ? [] : ['--stages', '100%'];
    return this.json('rollouts', 'create', '--model', model, ...stages, ...QUICK, ...options, '--yes');
  }
}

/** A proof that takes seconds, where a real fleet takes minutes. */
const QUICK = ['--soak', '0s', '--probation-inferences', '4', '--probation-time', '1s'];

export interface Flow {
  folder: string;
  stack: Stack;
  operator: Operator;
  /** The only device, once it proved its first model. */
  device: string;
  ended(rollout: string, withinMs?: number): Promise<RolloutView>;
  close(): Promise<void>;
}

/** As `npm start` writes it, five times faster. @param more further sources */
const agentYaml = (more: readonly string[]): string => `
sources:
${['{ name: host, kind: host, model: host, period: 200ms }', ...more].map((source) => `  - ${source}`).join('\n')}
outbox: { commitInterval: 200ms }
uplink: { batchInterval: 500ms }
`;

/** A server and an agent that proved host@1.0.0. */
export async function openFlow(name: string, ...sources: string[]): Promise<Flow> {
  const folder = mkdtempSync(join(tmpdir(), `skein-${name}-`));
  const stateDir = join(folder, 'state');
  mkdirSync(join(stateDir, 'agent'), { recursive: true, mode: 0o700 });
  writeFileSync(join(stateDir, 'agent/agent.yaml'), agentYaml(sources));
  const stack = await startStack({ stateDir, ports: FREE_PORTS });
  const show = (id: string) => stack.api.call('showRollout', { params: { id } });
  const ended = (id: string, withinMs = 90_000) =>
    until(
      () => show(id),
      ({ state }) => state !== 'running',
      withinMs,
    );
  const close = async () => {
    await stack.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const [first] = (await stack.api.call('listRollouts')).items;
    const { targets } = await ended(first!.id);
    return { folder, stack, operator: new Operator(stateDir), device: targets[0]!.device, ended, close };
  } catch (error) {
    await close();
    throw error;
  }
}

export interface StoredRecord<S extends Stream> {
  epoch: string;
  seq: number;
  record: RecordOf[S];
  batch: OpenedBatch;
}

/** Reads the running server's own file: sealed batches as they came, by epoch and number. */
export class ServerFile {
  readonly #database: Database.Database;

  constructor(stateDir: string) {
    this.#database = new Database(join(stateDir, 'server/store.db'), { readonly: true });
  }

  records<S extends Stream>(stream: S, device: string): StoredRecord<S>[] {
    const rows = this.#database
      .prepare('SELECT bytes FROM batches WHERE stream = ? AND device = ? ORDER BY received_at, seq')
      .all(stream, device) as { bytes: Uint8Array }[];
    return rows.flatMap(({ bytes }) => {
      const batch = openBatch(bytes);
      const { epoch, seq } = batch.header;
      return readRecords(batch).map((record, i) => ({
        epoch,
        seq: seq + i,
        record: record as RecordOf[S],
        batch,
      }));
    });
  }

  predictions(device: string): PredictionRecord[] {
    return this.records('predictions', device).map(({ record }) => record);
  }

  reports(device: string): { report: UpdateReport; batch: OpenedBatch }[] {
    return this.records('events', device).flatMap(({ record, batch }) => {
      const event: EventRecord = record;
      return event.kind === 'update' ? [{ report: event.report, batch }] : [];
    });
  }

  /** Hex of the key that the device enrolled with. */
  reportKey(device: string): string {
    const row = this.#database.prepare('SELECT report_key FROM devices WHERE id = ?').get(device);
    return (row as { report_key: string }).report_key;
  }

  gaps(): unknown[] {
    return this.#database.prepare('SELECT * FROM gaps').all();
  }

  close(): void {
    this.#database.close();
  }
}

/** The first number that is missing or comes twice in an epoch; undefined when all follow each other from 0. */
export function brokenAt(records: readonly { epoch: string; seq: number }[]): string | undefined {
  const next = new Map<string, number>();
  for (const { epoch, seq } of records) {
    const wanted = next.get(epoch) ?? 0;
    if (seq !== wanted) return `${epoch}: ${seq} where ${wanted} was due`;
    next.set(epoch, wanted + 1);
  }
  return undefined;
}

/** Runs of equal neighbours: `['1.0.0', '1.1.0']` for a version that changed once. */
export const runsOf = (values: readonly string[]): string[] =>
  values.filter((value, i) => value !== values[i - 1]);

/** Address of the running agent's local API. */
export const agentApi = (stateDir: string): string =>
  (JSON.parse(readFileSync(join(stateDir, 'agent/api.json'), 'utf8')) as { url: string }).url;

/** What the agent says of itself. */
export const agentStatus = async (stateDir: string): Promise<AgentStatus> =>
  (await fetch(`${agentApi(stateDir)}/status`)).json() as Promise<AgentStatus>;

/** A program of the machine, or undefined when it is not installed. */
export const findProgram = (name: string): string | undefined =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));

export interface Listener {
  /** Topic and parsed payload, in order. */
  readonly heard: { channel: string; device: string; text: string }[];
  stop(): Promise<void>;
}

/** `mosquitto_sub` on the local port, as people use it; resolves once it got the first retained message. */
export async function listen(binary: string, port: number): Promise<Listener> {
  const child = spawn(binary, ['-h', '127.0.0.1', '-p', String(port), '-v', '-t', 'skein/v1/+/+/+'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const heard: Listener['heard'] = [];
  let rest = '';
  const first = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${binary} ended with ${code}`)));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const [, device, channel, payload] = /^skein\/v1\/[^/]+\/([^/]+)\/(\w+) (.*)$/.exec(line) ?? [];
        if (device && channel && payload) heard.push({ device, channel, text: payload });
      }
      if (heard.length > 0) resolve();
    });
  });
  await first;
  child.removeAllListeners('exit');
  return {
    heard,
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill();
      }),
  };
}
