/**
 * The first promise with real processes: agent, server and broker are killed with SIGKILL at random moments, and at
 * the end every record whose commit returned is at the server exactly once, with the content it was made with.
 * Replay: SKEIN_SEED=<printed seed>. More: SKEIN_KILLS=<number> (split between the two brokers).
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StreamLedger } from '../../agent/src/outbox/port.ts';
import { nativeSigner } from '../../agent/src/system-clock.ts';
import { openSqliteStore } from '../../fleet-server/src/store/sqlite-store.ts';
import { createParties, FLEET, type Parties } from '../contracts/broker-parties.ts';
import { findMosquitto, startMosquitto } from '../contracts/mosquitto.ts';
import { expectClosed } from '../contracts/outbox.contract.ts';
import { below, pick, seeded } from '../protocol/batch/random.ts';
import { healthOf, predictionOf } from './kill/made-records.ts';
import { OutsideLedger } from './kill/outside-ledger.ts';
import { freePort, Mortal, nodeProcess, readServer } from './kill/parties.ts';

const SEED = Number(process.env.SKEIN_SEED ?? Math.floor(Math.random() * 2 ** 31));
const KILLS = Number(process.env.SKEIN_KILLS ?? (process.env.SKEIN_LONG ? 54 : 20));
const DEVICE = 'd-1';
const SETTLE_MS = 30_000;

const seedOf = (name: string) => createHash('sha256').update(name).digest('hex');
const publicHex = (seed: string) =>
  Buffer.from(nativeSigner(Buffer.from(seed, 'hex')).publicKey).toString('hex');

interface Brokers {
  url: string;
  server: object;
  broker?: Mortal;
}

class Flow {
  readonly folder = mkdtempSync(join(tmpdir(), 'skein-kill-'));
  readonly random = seeded(SEED);
  /** What processes said was accepted, by run: outside of everything that dies. */
  readonly claimed = new Map<number, { predictions: number; health: number }>();
  /** Everything ever seen in the outbox of a dead agent. */
  readonly seen = new OutsideLedger();
  ledger: StreamLedger[] = [];
  run = 0;
  agent!: Mortal;
  server!: Mortal;
  broker: Mortal | undefined;

  get outbox(): string {
    return join(this.folder, 'outbox.db');
  }

  get store(): string {
    return join(this.folder, 'store.db');
  }

  async start(parties: Parties, { url, server, broker }: Brokers): Promise<void> {
    const tls = await parties.device(DEVICE);
    await this.#enrol();
    const ackSeed = seedOf('ack');
    const common = { fleet: FLEET, device: DEVICE, url, tls, reportSeed: seedOf('device') };
    const agentStart = () => {
      const settings = { ...common, run: ++this.run, outbox: this.outbox, ackKey: publicHex(ackSeed) };
      return nodeProcess('agent-process', settings, this.folder);
    };
    const settings = { store: this.store, fleet: FLEET, ackSeed, ...server };
    this.agent = new Mortal(agentStart, (line) => this.#hear(line));
    this.server = new Mortal(() => nodeProcess('server-process', settings, this.folder));
    this.broker = broker;
    for (const process of [broker, this.server, this.agent]) process?.spawn();
  }

  async #enrol(): Promise<void> {
    const store = await openSqliteStore(this.store);
    const row = { name: 'kill', groups_json: '[]', cert_serial: '1', cert_not_after: 0, enrolled_at: 0 };
    const keys = { report_key: publicHex(seedOf('device')), revoked_at: null };
    await store
      .insertInto('devices')
      .values({ id: DEVICE, ...keys, ...row })
      .execute();
    await store.destroy();
  }

  #hear(line: string): void {
    const [kind, ...rest] = line.split(' ');
    if (kind === 'c') {
      const [run, predictions, health] = rest.map(Number) as [number, number, number];
      this.claimed.set(run, { predictions, health });
    }
    if (kind === 'l') this.ledger = JSON.parse(rest.join(' ')) as StreamLedger[];
  }

  async killOne(): Promise<void> {
    const victims = [this.agent, this.agent, this.server, ...(this.broker ? [this.broker] : [])];
    const victim = pick(this.random, victims);
    await victim.kill();
    if (victim === this.agent) this.seen.readDead(this.outbox, this.folder);
    victim.spawn();
  }

  async settle(): Promise<void> {
    this.agent.send('finish');
    const deadline = Date.now() + SETTLE_MS;
    while (this.ledger.length === 0 || this.ledger.some((entry) => entry.pending > 0)) {
      if (Date.now() > deadline) throw new Error(`pending: ${JSON.stringify(this.ledger)}\n${this.said()}`);
      await pause(50);
    }
  }

  said(): string {
    const tail = (name: string, process: Mortal) =>
      process.lines
        .filter((line) => !/^[cl] /.test(line))
        .slice(-15)
        .map((line) => `${name}: ${line}`);
    const all = [...tail('agent', this.agent), ...tail('server', this.server)];
    return [...all, ...(this.broker ? tail('broker', this.broker) : [])].join('\n');
  }

  async end(): Promise<void> {
    await Promise.all([this.agent.kill(), this.server.kill(), this.broker?.kill()]);
    this.seen.readDead(this.outbox, this.folder);
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function killAround(flow: Flow, kills: number): Promise<void> {
  for (let i = 0; i < kills; i++) {
    await pause(250 + below(flow.random, 1000));
    await flow.killOne();
  }
  await flow.settle();
  await flow.end();
}

/** The three ledgers agree: what was claimed, what the outbox held, what the server has. */
function check(flow: Flow): void {
  const server = readServer(flow.store);
  const bodies = [...server.values()].map((body) => JSON.parse(body));
  const labels = bodies.map((b) => b.label ?? `h-${b.metrics.run}-${b.metrics.i}`);
  expect(new Set(labels).size, 'no record twice').toBe(labels.length);
  const byLabel = new Map(labels.map((label, i) => [label, bodies[i]]));
  for (const [run, { predictions, health }] of flow.claimed) {
    for (let i = 0; i < predictions; i++) expect(byLabel.get(`p-${run}-${i}`)).toEqual(predictionOf(run, i));
    for (let i = 0; i < health; i++) expect(byLabel.get(`h-${run}-${i}`)).toEqual(healthOf(run, i));
  }
  flow.seen.expectSame(server);
  for (const entry of flow.ledger) {
    expectClosed(entry);
    expect(entry).toMatchObject({ dropped: 0, lostAtServer: 0, unknown: 0, pending: 0 });
  }
  const stored = flow.ledger.reduce((sum, entry) => sum + entry.stored, 0);
  expect(stored, 'the agent counts as stored what the server has').toBe(server.size);
  expect(server.size, 'there was something to lose').toBeGreaterThan(10 * KILLS);
}

async function walk(kills: number, brokers: (parties: Parties) => Promise<Brokers>): Promise<void> {
  const parties = await createParties();
  const flow = new Flow();
  try {
    await flow.start(parties, await brokers(parties));
    await killAround(flow, kills);
    check(flow);
  } catch (error) {
    const hint = `SKEIN_SEED=${SEED} SKEIN_KILLS=${KILLS}`;
    throw new Error(`${hint}: ${(error as Error).message}\n${flow.said()}`, { cause: error });
  } finally {
    await flow.end().catch(() => {});
    flow.dispose();
    parties.dispose();
  }
}

describe(`kill -9 at any moment (seed ${SEED})`, () => {
  it('loses and duplicates nothing with the embedded broker', async () => {
    await walk(Math.ceil(KILLS / 2), async (parties) => {
      const port = await freePort();
      return { url: `mqtts://localhost:${port}`, server: { embedded: { port, tls: parties.server } } };
    });
  });

  const mosquitto = findMosquitto();
  it.skipIf(mosquitto === undefined)(
    'loses and duplicates nothing with Mosquitto killed as well',
    async () => {
      await walk(Math.floor(KILLS / 2), async (parties) => {
        const once = await startMosquitto(mosquitto!, parties, FLEET);
        await once.stop();
        const start = () =>
          spawn(mosquitto!, ['-c', join(parties.folder, 'mosquitto.conf')], {
            stdio: ['ignore', 'pipe', 'pipe'],
          });
        return {
          url: `mqtts://localhost:${once.mqtts}`,
          server: { external: `mqtt://127.0.0.1:${once.mqtt}` },
          broker: new Mortal(start),
        };
      });
    },
  );
});
