/**
 * The first promise with the daemons as they are installed: the agent with its model and sources, and the server with
 * its broker, die by SIGKILL at random moments, while they boot, work or talk, alone or together, and are started
 * again at once. At the end every record that was ever committed is at the server exactly once, as it was committed.
 * Replay: SKEIN_SEED=<printed seed>. More: SKEIN_LONG=1 (50 kills) or SKEIN_KILLS=<number>.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentStatus } from '@skein/agent/api/status.ts';
import { STREAMS } from '@skein/protocol/topics.ts';
import { describe, expect, it } from 'vitest';
import { stopDaemon } from '../../scripts/processes.ts';
import { type Stack, startStack } from '../../scripts/stack.ts';
import { expectClosed } from '../contracts/outbox.contract.ts';
import { below, pick, seeded } from '../protocol/batch/random.ts';
import { childOf, DaemonLives } from './kill/daemon-lives.ts';
import { OutsideLedger } from './kill/outside-ledger.ts';
import { readServer } from './kill/parties.ts';
import { agentStatus, brokenAt, FREE_PORTS, ServerFile, until } from './operator.ts';

const SEED = Number(process.env.SKEIN_SEED ?? Math.floor(Math.random() * 2 ** 31));
const KILLS = Number(process.env.SKEIN_KILLS ?? (process.env.SKEIN_LONG ? 50 : 8));
const AGENT = 'agent/src/main.ts';
const SERVER = 'fleet-server/src/main.ts';
const SETTLE_MS = 60_000;

const BUSY = `
sources:
  - { name: host, kind: host, model: host, period: 100ms }
outbox: { commitInterval: 100ms }
uplink: { batchInterval: 200ms }
health: { interval: 1s, sampleInterval: 500ms }
`;
/** After the health record of its start nothing new comes, so that what is pending can come to an end. */
const QUIET = `
sources: []
outbox: { commitInterval: 100ms }
uplink: { batchInterval: 200ms }
health: { interval: 1d, sampleInterval: 1h }
`;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

class Killing {
  readonly #folder = mkdtempSync(join(tmpdir(), 'skein-kill-daemons-'));
  readonly stateDir = join(this.#folder, 'state');
  readonly #random = seeded(SEED);
  readonly seen = new OutsideLedger();
  /** How many records of each stream the agent told somebody it had accepted. */
  readonly #claimed = new Map<string, number>();
  stack!: Stack;
  agent!: DaemonLives;
  server!: DaemonLives;
  device = '';

  get kills(): number {
    return this.agent.kills + this.server.kills;
  }

  /** For people: what happened so far. */
  get figures(): string {
    const lives = [this.agent, this.server].map(
      (d) => `${d.name} killed ${d.kills} times (${d.bootKills} booting)`,
    );
    const counts = STREAMS.map((stream) => `${this.seen.count(stream)} ${stream}`);
    return [...lives, ...counts].join(', ');
  }

  #configure(text: string): void {
    writeFileSync(join(this.stateDir, 'agent/agent.yaml'), text);
  }

  /** Until the model has proved itself: a death in its probation would be the model's fault. */
  async start(): Promise<void> {
    mkdirSync(join(this.stateDir, 'agent'), { recursive: true, mode: 0o700 });
    this.#configure(BUSY);
    const stack = await startStack({ stateDir: this.stateDir, ports: FREE_PORTS });
    this.stack = stack;
    const rollouts = () => stack.api.call('listRollouts');
    const { items } = await until(rollouts, (list) => list.items[0]?.state !== 'running');
    expect(items[0]?.state).toBe('done');
    const restartAgent = () => stack.restartAgent();
    const restartServer = () => stack.restartServer();
    const agent = { name: 'agent', program: AGENT, current: () => stack.agent, restart: restartAgent };
    const server = { name: 'server', program: SERVER, current: () => stack.server, restart: restartServer };
    this.agent = new DaemonLives(agent);
    this.server = new DaemonLives(server);
    this.device = (await agentStatus(this.stateDir)).device;
  }

  /** One moment: who dies, whether it may be booting, and after how long. */
  async killSome(): Promise<void> {
    const victims = pick(this.#random, [
      [this.agent],
      [this.agent],
      [this.server],
      [this.agent, this.server],
    ]);
    const anyMoment = below(this.#random, 3) === 0;
    const wait = below(this.#random, 1_500);
    if (!anyMoment) await Promise.all(victims.map((victim) => victim.ready()));
    await this.#listen();
    await pause(wait);
    await Promise.all(victims.map((victim) => victim.kill()));
    if (victims.includes(this.agent)) this.#readDead();
    for (const victim of victims) victim.start();
  }

  /** What the agent says is what it can be held to. */
  async #listen(): Promise<AgentStatus | undefined> {
    const status = await agentStatus(this.stateDir).catch(() => undefined);
    for (const { stream, accepted } of status?.ledger ?? []) this.#claimed.set(stream, accepted);
    return status;
  }

  #readDead(): void {
    this.seen.readDead(join(this.stateDir, 'agent/outbox.db'), this.#folder);
    for (const [stream, accepted] of this.#claimed)
      expect(this.seen.count(stream), `${stream} that were said to be accepted`).toBeGreaterThanOrEqual(
        accepted,
      );
  }

  /** The agent's own account once nothing is pending; both daemons have stopped then. */
  async settle(): Promise<AgentStatus> {
    await Promise.all([this.agent.ready(), this.server.ready()]);
    expect(await stopDaemon(this.stack.agent), 'the agent stops when asked').toBe(0);
    this.#readDead();
    this.#configure(QUIET);
    await this.stack.restartAgent();
    const before = this.seen.count('health');
    const settled = (status?: AgentStatus) =>
      status?.ledger.every(({ pending }) => pending === 0) &&
      status.ledger.some(({ stream, accepted }) => stream === 'health' && accepted > before);
    const status = await until(
      () => this.#listen(),
      (now) => settled(now) === true,
      SETTLE_MS,
    );
    await this.stack.stop();
    this.#readDead();
    return status!;
  }

  /** The last lines of both daemons. */
  said(): string {
    const tail = (name: string): string[] => {
      const file = join(this.stateDir, 'logs', `${name}.log`);
      const lines = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
      return lines.slice(-12).map((line) => `${name}: ${line}`);
    };
    return [...tail('agent'), ...tail('server')].join('\n');
  }

  /** Whatever still runs, also one that never got ready. */
  async end(): Promise<void> {
    for (const program of [AGENT, SERVER]) {
      const pid = childOf(program);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      await until(
        () => childOf(program),
        (left) => left === undefined,
      );
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** What was committed, what the agent counts and what the server has are the same. */
function check({ stateDir, device, seen }: Killing, { ledger }: AgentStatus): void {
  const store = join(stateDir, 'server/store.db');
  seen.expectSame(readServer(store));
  const file = new ServerFile(stateDir);
  try {
    expect(file.gaps()).toEqual([]);
    for (const stream of STREAMS) {
      const records = file.records(stream, device);
      const entry = ledger.find((e) => e.stream === stream)!;
      expectClosed(entry);
      const clean = { dropped: 0, lostAtServer: 0, unknown: 0, pending: 0, stored: records.length };
      expect(entry, stream).toMatchObject(clean);
      expect(new Set(records.map(({ epoch }) => epoch)).size, `epochs of ${stream}`).toBeLessThanOrEqual(1);
      expect(brokenAt(records), stream).toBeUndefined();
    }
  } finally {
    file.close();
  }
}

describe(`kill -9 of the installed daemons (seed ${SEED})`, () => {
  it(
    `loses and duplicates nothing in ${KILLS} deaths`,
    async () => {
      const killing = new Killing();
      try {
        await killing.start();
        while (killing.kills < KILLS) await killing.killSome();
        const status = await killing.settle();
        check(killing, status);
        console.info(killing.figures);
        expect(killing.seen.count('predictions'), 'there was something to lose').toBeGreaterThan(3 * KILLS);
        expect(killing.seen.count('health')).toBeGreaterThan(KILLS / 4);
      } catch (error) {
        const hint = `SKEIN_SEED=${SEED} SKEIN_KILLS=${KILLS}`;
        throw new Error(`${hint}: ${(error as Error).message}\n${killing.said()}`, { cause: error });
      } finally {
        await killing.end();
      }
    },
    60_000 + KILLS * 10_000,
  );
});
