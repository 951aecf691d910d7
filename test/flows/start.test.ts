/** `npm start` as a newcomer meets it: one command in a process of its own, looked at and broken from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ItemOf } from '@skein/fleet-server/cli/client.ts';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { agentStatus, brokenAt, Operator, ROOT, ServerFile, until } from './operator.ts';

const FREE = Object.fromEntries(
  ['HTTP', 'DEVICE', 'MQTTS', 'MQTT', 'AGENT'].map((name) => [`SKEIN_${name}_PORT`, '0']),
);
const folder = mkdtempSync(join(tmpdir(), 'skein-start-'));
const stateDir = join(folder, 'state');
const operator = new Operator(stateDir);
const running = new Set<Start>();

/** Process ids of a group with their command lines; zombies are gone already. */
function groupOf(id: number): { pid: number; command: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const [, state, , group] = /\) (\S) (\d+) (\d+) /.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))!;
      if (Number(group) !== id || state === 'Z') return [];
      return [
        { pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') },
      ];
    } catch {
      return [];
    }
  });
}

/** In a process group of its own, as a terminal starts it. */
class Start {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(env: NodeJS.ProcessEnv = FREE) {
    this.child = spawn(process.execPath, [join(ROOT, 'scripts/setup.mjs'), 'start'], {
      cwd: ROOT,
      env: { ...process.env, ...env, SKEIN_STATE_DIR: stateDir },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    this.child.stderr!.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.ended = new Promise((resolve) => this.child.once('close', (code) => resolve(code)));
    running.add(this);
  }

  announced(): Promise<unknown> {
    return until(
      () => (this.child.exitCode === null ? this.stdout : this.stderr),
      (text) => this.child.exitCode !== null || text.includes('npm start carries on'),
    );
  }

  kill(signal: NodeJS.Signals, pid = -this.child.pid!): void {
    process.kill(pid, signal);
  }

  pidOf(program: string): number {
    return groupOf(this.child.pid!).find(({ command }) => command.includes(program))!.pid;
  }
}

afterEach(async () => {
  for (const start of running) {
    if (groupOf(start.child.pid!).length > 0) start.kill('SIGKILL');
    await start.ended;
  }
  running.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Listed = ItemOf<'listDevices'>;
const devices = () => operator.json<Listed[]>('devices', 'list');
const stored = async () => (await devices())[0]?.predictions ?? 0;
const grows = (from: number) => until(stored, (now) => now > from + 1);

/** Every term of the agent's own account, and what the server has of it. */
async function expectNothingLost(): Promise<void> {
  const { ledger } = await agentStatus(stateDir);
  for (const { accepted, stored, pending, dropped, lostAtServer, unknown } of ledger) {
    expect(stored + pending + dropped + lostAtServer + unknown).toBe(accepted);
    expect([dropped, lostAtServer, unknown]).toEqual([0, 0, 0]);
  }
  const counted = ledger.find(({ stream }) => stream === 'predictions')!.stored;
  expect(counted).toBeGreaterThan(0);
  expect(await stored()).toBeGreaterThanOrEqual(counted);
}

function storedPredictions(device: string) {
  const file = new ServerFile(stateDir);
  try {
    expect(file.gaps()).toEqual([]);
    return file.records('predictions', device);
  } finally {
    file.close();
  }
}

/** With what its agent says of the way there, for the words when it never comes. */
async function firstOf() {
  const [first] = await devices();
  const { updates, pipelines } = await agentStatus(stateDir);
  return { first, updates, pipelines };
}

/** Preflight has a low priority, and other flows run beside this one. */
const FIRST_WITHIN_MS = 120_000;

describe('npm start', () => {
  let device: string;
  let before = 0;

  it('sets everything up and says how to look at it', async () => {
    const start = new Start();
    await start.announced();
    expect(start.stdout, start.stderr).toMatch(/http:\/\/localhost:\d+\/\S+/);
    for (const command of ['npx skein devices list', 'npx skein monitor', 'mosquitto_sub']) {
      expect(start.stdout).toContain(command);
    }
    expect(start.stdout).toContain(stateDir);
    expect(statSync(join(stateDir, 'operator.json')).mode & 0o777).toBe(0o600);

    const { first } = await until(firstOf, (seen) => (seen.first?.predictions ?? 0) > 0, FIRST_WITHIN_MS);
    device = first!.id;
    expect(first).toMatchObject({ online: true, model: expect.stringMatching(/^host@/), revoked: false });
    expect(Math.abs(Date.now() - first!.lastSeen!)).toBeLessThan(60_000);
    before = await grows(first!.predictions);
    await expectNothingLost();

    const asked = performance.now();
    start.kill('SIGINT');
    expect(await start.ended, start.stderr).toBe(0);
    expect(performance.now() - asked).toBeLessThan(5_000);
    expect(groupOf(start.child.pid!)).toEqual([]);
    expect(start.stderr).toContain('nothing was lost');
  });

  it('carries on where it stopped, and brings back a daemon that is killed', async () => {
    const kept = storedPredictions(device);
    expect(kept.length).toBeGreaterThanOrEqual(before);
    const start = new Start();
    await start.announced();
    const [again, ...others] = await devices();
    expect(others).toEqual([]);
    expect(again!.id).toBe(device);
    expect(again!.predictions).toBeGreaterThanOrEqual(kept.length);
    let count = await grows(again!.predictions);

    for (const program of ['agent/src/main.ts', 'fleet-server/src/main.ts']) {
      const pid = start.pidOf(program);
      start.kill('SIGKILL', pid);
      await until(
        () => groupOf(start.child.pid!),
        (group) => group.some((p) => p.command.includes(program) && p.pid !== pid),
        20_000,
      );
      expect(start.stderr).toMatch(/stopped \(SIGKILL\); starting it again/);
      count = await until(
        () => stored().catch(() => 0),
        (now) => now > count + 1,
      );
    }
    await until(devices, ([only]) => only!.online);
    await expectNothingLost();

    // npm and service managers signal the launcher alone.
    start.kill('SIGINT', start.child.pid!);
    expect(await start.ended, start.stderr).toBe(0);
    expect(groupOf(start.child.pid!)).toEqual([]);
    const records = storedPredictions(device);
    expect(records.length).toBeGreaterThanOrEqual(count);
    expect(brokenAt(records)).toBeUndefined();
    expect(new Set(records.map(({ epoch }) => epoch)).size).toBe(1);
    expect(records.slice(0, kept.length).map(({ record }) => record)).toEqual(
      kept.map(({ record }) => record),
    );
  });

  it.each([
    'SKEIN_HTTP_PORT',
    'SKEIN_DEVICE_PORT',
    'SKEIN_MQTTS_PORT',
    'SKEIN_MQTT_PORT',
    'SKEIN_AGENT_PORT',
  ])('names the port and %s when it is taken', async (variable) => {
    const other = createServer();
    const port = await listening(other);
    const start = new Start({ ...FREE, [variable]: String(port) });
    expect(await start.ended).toBe(1);
    other.close();
    expect(start.stderr).toContain('PORT_IN_USE');
    expect(start.stderr).toContain(String(port));
    expect(start.stderr).toContain(variable);
    expect(groupOf(start.child.pid!)).toEqual([]);
  });
});

const listening = (server: Server): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
