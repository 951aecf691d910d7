/**
 * The first promise, tried with random histories: every accepted record is at the server exactly once, or in an
 * exact range with a reason. Crashes, lost, late and replayed messages, a server restored from a backup, caps of every
 * policy, sampling.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AckMessage } from '@skein/protocol/batch/ack.ts';
import { covers, type Gap } from '@skein/protocol/batch/header.ts';
import { chainHead, openBatch, readRecords } from '@skein/protocol/batch/sealed.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import type { Outbox, SealedRow } from '../../../agent/src/outbox/port.ts';
import { DROP_POLICIES, type DropPolicy } from '../../../agent/src/outbox/retention.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { judgeAck } from '../../../agent/src/uplink/judge-ack.ts';
import {
  acceptBatch,
  NOTHING,
  storedWithin,
  type Watermark,
} from '../../../fleet-server/src/ingest/accept-batch.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { below, pick, type Random, seeded, testSigner } from '../../protocol/batch/random.ts';

const signer = testSigner('ledger device');

/** A crash here ends a process, not the power: memory is as good as a disk, and a busy disk takes minutes. */
const MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** The server's rules over plain arrays; a snapshot of it is a backup. */
interface ServerState {
  mark: Watermark;
  heads: Map<number, string>;
  labels: string[];
  gaps: Gap[];
}
const emptyServer = (): ServerState => ({ mark: NOTHING, heads: new Map(), labels: [], gaps: [] });

class World {
  server = emptyServer();
  backup = emptyServer();
  accepted: string[] = [];
  leftOut = 0;
  inFlight = new Set<string>();
  wires: SealedRow[] = [];
  acks: AckMessage[] = [];
  oldAcks: AckMessage[] = [];
  regained = 0;
  now = 1_763_812_345_678;
  outbox: Outbox;
  #next = 0;
  readonly #random: Random;
  readonly #policy: DropPolicy;
  /** On a card steps wait in memory for the next commit, and a crash takes them. */
  readonly #card: boolean;
  readonly #dir = mkdtempSync(join(MEMORY, 'skein-ledger-'));
  readonly #dead: Outbox[] = [];

  constructor(random: Random, policy: DropPolicy, card: boolean) {
    this.#random = random;
    this.#policy = policy;
    this.#card = card;
    this.outbox = this.#open();
  }

  get #path(): string {
    return join(this.#dir, `outbox-${this.#dead.length}.db`);
  }

  #open(): Outbox {
    return openSqliteOutbox({
      path: this.#path,
      alone: this.#card,
      fleet: 'home',
      device: 'd-1',
      clock: { now: () => this.now, mono: () => this.now, after: () => ({ cancel() {} }) },
      entropy: { bytes: (n) => Uint8Array.from({ length: n }, () => below(this.#random, 256)) },
      signer,
      reserveBytes: 0,
      capBytes: { predictions: 24_000 },
      maxAgeMs: { predictions: 6 * 3_600_000 },
      policies: { predictions: this.#policy },
    });
  }

  record(): void {
    const held: PredictionRecord[] = [];
    const leftOut = below(this.#random, 4);
    for (let i = 0; i < leftOut; i++) this.outbox.leaveOut('predictions');
    for (let i = below(this.#random, 6); i >= 0; i--) {
      held.push({ ...prediction(this.#next++), alarm: Number(this.#random() < 0.2) });
    }
    for (const record of held) this.outbox.append('predictions', record);
    if (this.#random() < 0.1) {
      this.crash();
      return;
    }
    this.outbox.commit();
    this.leftOut += leftOut;
    this.accepted.push(...held.map((record) => record.label));
  }

  crash(): void {
    if (this.#card) this.#kill();
    else this.outbox.close();
    this.inFlight.clear();
    this.outbox = this.#open();
  }

  /** What lies on the disk goes on elsewhere. */
  #kill(): void {
    const path = this.#path;
    this.#dead.push(this.outbox);
    for (const suffix of ['', '-wal', '.mark', '.seen'])
      if (existsSync(path + suffix)) copyFileSync(path + suffix, this.#path + suffix);
  }

  send(): void {
    for (const row of this.outbox.pending('predictions', 1 + below(this.#random, 4))) {
      this.inFlight.add(row.hash);
      this.wires.push(row);
    }
  }

  /** The network: loses, repeats and reorders. */
  deliver(): void {
    const row = this.wires.splice(this.#random() < 0.8 ? 0 : below(this.#random, this.wires.length), 1)[0];
    if (row === undefined || this.#random() < 0.15) return;
    if (this.#random() < 0.1) this.wires.push(row);
    this.acks.push(this.ingest(row));
  }

  ingest(row: SealedRow): AckMessage {
    const { header, head } = openBatch(row.bytes);
    const verdict = acceptBatch(this.server.mark, { header, head }, this.server.heads.get(header.seq));
    expect(verdict.kind, 'an honest device never forks').not.toBe('fork');
    if (verdict.kind === 'accept') {
      this.server.mark = verdict.next;
      this.server.gaps.push(...verdict.gaps);
      if (header.n > 0) this.server.heads.set(header.seq, head);
      const records = readRecords(openBatch(row.bytes)) as PredictionRecord[];
      this.server.labels.push(...records.map((r) => r.label));
    }
    const range = covers(header);
    const told = header.bridge !== null && range.to < this.server.mark.nextSeq;
    return {
      stream: 'predictions',
      epoch: header.epoch,
      upTo: this.server.mark.nextSeq - 1,
      head: this.server.mark.head,
      re: chainHead(row.bytes),
      ...(told ? { stored: storedWithin(range, this.server.gaps) > 0 } : {}),
    };
  }

  hear(): void {
    const replay = this.oldAcks.length > 0 && this.#random() < 0.2;
    const ack = replay ? pick(this.#random, this.oldAcks) : this.acks.shift();
    if (ack === undefined || (!replay && this.#random() < 0.15)) return;
    this.oldAcks.push(ack);
    this.take(ack);
  }

  /** As the drain does. */
  take(ack: AckMessage): void {
    const fresh = ack.re !== undefined && this.inFlight.delete(ack.re);
    if (fresh && ack.stored !== undefined) {
      const before = predictions(this.outbox).stored;
      this.outbox.settle('predictions', ack.re!, ack.stored);
      this.regained += predictions(this.outbox).stored - before;
    }
    const mark = this.outbox.mark('predictions');
    const judgement = judgeAck(ack, { mark, ownHead: this.outbox.headAt('predictions', ack.upTo), fresh });
    if (judgement === 'advance') expect(this.outbox.delivered(ack)).toBe(true);
    if (judgement === 'rewind') expect(this.outbox.rewind(ack), JSON.stringify(ack)).toBe(true);
    expect(judgement).not.toBe('fork');
  }

  backUp(): void {
    const { mark, heads, labels, gaps } = this.server;
    this.backup = { mark, heads: new Map(heads), labels: [...labels], gaps: [...gaps] };
  }

  restore(): void {
    const { mark, heads, labels, gaps } = this.backup;
    this.server = { mark, heads: new Map(heads), labels: [...labels], gaps: [...gaps] };
  }

  /** A good network until nothing is left to say. */
  settleDown(): void {
    this.wires = [];
    this.acks = [];
    // An alarm is given up last: what was given up before it is told with it.
    this.outbox.append('predictions', { ...prediction(this.#next++), alarm: 1 });
    this.outbox.commit();
    this.accepted.push(`record-${this.#next - 1}`);
    while (this.outbox.seal('predictions'));
    this.outbox.askAgain('predictions');
    for (let round = 0; round < 200; round++) {
      const rows = this.outbox.pending('predictions', 4);
      if (rows.length === 0) return;
      for (const row of rows) {
        this.inFlight.add(row.hash);
        this.take(this.ingest(row));
      }
    }
    throw new Error('never settles');
  }

  dispose(): void {
    for (const outbox of [...this.#dead, this.outbox]) outbox.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** More with SKEIN_SEEDS; one history takes about 0.2 s on a disk. */
const SEEDS = Number(process.env.SKEIN_SEEDS ?? 9);
const STEPS = 200;

describe('the ledger', () => {
  it(
    'closes after every step of every history, and the server has each record once or not at all',
    () => {
      let drops = 0;
      let losses = 0;
      let regained = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const random = seeded(seed);
        const world = new World(random, DROP_POLICIES[seed % DROP_POLICIES.length]!, seed % 2 === 0);
        try {
          for (let step = 0; step < STEPS; step++) {
            act(world, random);
            expectClosed(predictions(world.outbox), `seed ${seed} step ${step}`);
          }
          world.settleDown();
          checkEnd(world, `seed ${seed}`);
          const ledger = predictions(world.outbox);
          drops += ledger.dropped;
          losses += ledger.lostAtServer;
          regained += world.regained;
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        } finally {
          world.dispose();
        }
      }
      expect(drops, 'the histories reach the cap').toBeGreaterThan(0);
      expect(losses, 'the histories lose at the server').toBeGreaterThan(0);
      expect(regained, 'some that were given up had arrived after all').toBeGreaterThan(0);
    },
    20_000 + SEEDS * 2_000,
  );
});

function act(world: World, random: Random): void {
  const dice = random();
  if (dice < 0.25) world.record();
  else if (dice < 0.4) world.outbox.seal('predictions');
  else if (dice < 0.55) world.send();
  else if (dice < 0.72) world.deliver();
  else if (dice < 0.9) world.hear();
  else if (dice < 0.94) world.now += below(random, 3_000_000);
  else if (dice < 0.97) world.crash();
  else if (dice < 0.98) world.backUp();
  else world.restore();
}

function checkEnd(world: World, hint: string): void {
  const ledger = predictions(world.outbox);
  const { labels, gaps } = world.server;
  const lost = [...ledger.droppedRanges, ...ledger.lostRanges].flatMap(({ from, to }) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i),
  );
  const gone = new Set(lost);
  const expected = world.accepted.filter((_, seq) => !gone.has(seq));
  expect(ledger.accepted, hint).toBe(world.accepted.length);
  expect(ledger.observed, hint).toBe(world.accepted.length + world.leftOut);
  expect(labels, hint).toEqual(expected);
  expect(ledger, hint).toMatchObject({ pending: 0, unknown: 0, stored: labels.length });
  const told = gaps.reduce((sum, gap) => sum + gap.to - gap.from + 1, 0);
  expect(told, `${hint}: every loss is told to the server`).toBe(lost.length);
}
