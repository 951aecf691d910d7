/** The drain against a real outbox and the server's real rules, over a link that does what the test says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACK_DOMAIN, type AckMessage } from '@skein/protocol/batch/ack.ts';
import { covers } from '@skein/protocol/batch/header.ts';
import { askedHash, takeNonce } from '@skein/protocol/batch/nonce.ts';
import { chainHead, openBatch } from '@skein/protocol/batch/sealed.ts';
import { sealShortAck } from '@skein/protocol/batch/short-ack.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Channel } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Outbox } from '../../../agent/src/outbox/port.ts';
import { openSqliteOutbox } from '../../../agent/src/outbox/sqlite-outbox.ts';
import { createDrain, type Drain } from '../../../agent/src/uplink/drain.ts';
import type { Link } from '../../../agent/src/uplink/link.ts';
import {
  acceptBatch,
  NOTHING,
  storedWithin,
  type Watermark,
} from '../../../fleet-server/src/ingest/accept-batch.ts';
import { expectClosed, prediction, predictions } from '../../contracts/outbox.contract.ts';
import { mutations } from '../../mutations.ts';
import { seeded, testSigner, testVerify } from '../../protocol/batch/random.ts';
import { type ManualClock, manualClock } from '../manual-clock.ts';

const server = testSigner('server');
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

class FakeLink implements Link {
  connected = false;
  session = 's';
  sent: { channel: Channel; bytes: Uint8Array }[] = [];
  #messages = new Map<Channel, (payload: Uint8Array) => void>();
  #connect: (() => void)[] = [];
  #disconnect: ((reason: string) => void)[] = [];

  async publish(channel: Channel, payload: Uint8Array | string): Promise<void> {
    if (!this.connected) throw new SkeinError('UNREACHABLE', 'no');
    this.sent.push({ channel, bytes: payload as Uint8Array });
  }
  onMessage(channel: Channel, handler: (payload: Uint8Array) => void): void {
    this.#messages.set(channel, handler);
  }
  onConnect(handler: () => void): void {
    this.#connect.push(handler);
  }
  onDisconnect(handler: (reason: string) => void): void {
    this.#disconnect.push(handler);
  }
  start(): void {
    this.connected = true;
    for (const handler of this.#connect) handler();
  }
  async stop(): Promise<void> {
    this.connected = false;
    for (const handler of this.#disconnect) handler('test');
  }
  doubts = 0;
  doubt(): void {
    this.doubts++;
  }
  moved(): void {}
  contested(): void {}
  hear(payload: Uint8Array): void {
    this.#messages.get('ack')!(payload);
  }
  /** What was sent since last asked. */
  take(): Uint8Array[] {
    return this.sent.splice(0).map(({ bytes }) => bytes);
  }
}

/** A server in memory; its acks come back only when the test says. */
class FakeServer {
  mark: Watermark = NOTHING;
  gaps: { from: number; to: number; reason: string }[] = [];
  heads = new Map<number, string>();

  answer(payload: Uint8Array): AckMessage {
    const { batch: bytes, nonce } = takeNonce(payload);
    const { header, head } = openBatch(bytes);
    const verdict = acceptBatch(this.mark, { header, head }, this.heads.get(header.seq));
    if (verdict.kind === 'accept') {
      this.mark = verdict.next;
      this.gaps.push(...verdict.gaps);
      if (header.n > 0) this.heads.set(header.seq, head);
    }
    const range = covers(header);
    const told = header.bridge !== null && range.to < this.mark.nextSeq;
    const { stream, epoch } = header;
    const re = nonce ? askedHash(nonce, chainHead(bytes)) : chainHead(bytes);
    const ack = { stream, epoch, upTo: this.mark.nextSeq - 1, head: this.mark.head, re };
    return told ? { ...ack, stored: storedWithin(range, this.gaps) > 0 } : ack;
  }
}

const envelope = (ack: AckMessage, signer = server, device = 'd-1') =>
  sealEnvelope(signer, ACK_DOMAIN, device, new TextEncoder().encode(JSON.stringify(ack)));

let dir: string;
let clock: ManualClock;
let link: FakeLink;
let outbox: Outbox;
let drain: Drain;
let fleet: FakeServer;
let troubles: SkeinError[];
let warnings: string[];
let next: number;
let began: boolean;
let takesNonces: boolean;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'skein-drain-'));
  clock = manualClock();
  link = new FakeLink();
  fleet = new FakeServer();
  troubles = [];
  warnings = [];
  next = 0;
  began = false;
  takesNonces = false;
  const random = seeded(5);
  const entropy = { bytes: (n: number) => Uint8Array.from({ length: n }, () => random() * 256) };
  const log = { info() {}, warn: (message: string) => void warnings.push(message), error() {} };
  outbox = openSqliteOutbox({
    path: join(dir, 'outbox.db'),
    fleet: 'home',
    device: 'd-1',
    clock,
    entropy,
    signer: testSigner('device'),
    reserveBytes: 0,
  });
  drain = createDrain({
    link,
    outbox,
    device: 'd-1',
    ackKeys: () => [hex(server.publicKey)],
    verify: testVerify,
    clock,
    entropy,
    log,
    batchIntervalMs: 60_000,
    serverBegan: () => {
      const was = began;
      began = false;
      return was;
    },
    takesNonces: () => takesNonces,
    trouble: (error) => troubles.push(error),
  });
});

afterEach(() => {
  drain.stop();
  outbox.close();
  rmSync(dir, { recursive: true, force: true });
});

/** So many batches of two records each. */
function batches(count: number): void {
  for (let i = 0; i < count; i++) {
    outbox.append('predictions', prediction(next++));
    outbox.append('predictions', prediction(next++));
    outbox.commit();
    outbox.seal('predictions');
  }
}

const seqs = (sent: Uint8Array[]) => sent.map((bytes) => openBatch(takeNonce(bytes).batch).header.seq);

function start(): void {
  drain.start();
  link.start();
}

describe('the drain', () => {
  it('keeps at most a window in flight and moves on with the proof', () => {
    batches(6);
    start();
    const first = link.take();
    expect(seqs(first)).toEqual([0, 2, 4, 6]);
    drain.send();
    expect(link.take()).toEqual([]);
    link.hear(envelope(fleet.answer(first[0]!)));
    expect(seqs(link.take())).toEqual([8]);
    for (const bytes of first.slice(1)) link.hear(envelope(fleet.answer(bytes)));
    expect(seqs(link.take())).toEqual([10]);
    expect(predictions(outbox)).toMatchObject({ stored: 8, pending: 4 });
  });

  it('seals and sends at its interval, and at once when asked', async () => {
    start();
    outbox.append('predictions', prediction(0));
    outbox.commit();
    expect(link.take()).toEqual([]);
    await clock.advance(60_000);
    expect(seqs(link.take())).toEqual([0]);
    outbox.append('predictions', prediction(1));
    outbox.commit();
    drain.send();
    expect(seqs(link.take())).toEqual([1]);
  });

  it('lets streams take turns', () => {
    batches(4);
    outbox.append('health', { ts: 1, mono: 1, boot: 'b', metrics: {} });
    outbox.commit();
    start();
    expect(link.sent.map(({ channel }) => channel)).toEqual([
      'batch/health',
      'batch/predictions',
      'batch/predictions',
      'batch/predictions',
      'batch/predictions',
    ]);
  });

  it('lets an event go first and at once, however much else waits, sealed or not, answered or not', async () => {
    const event = () => {
      const about = { ts: 1, mono: 1, boot: 'b', kind: 'incident' } as const;
      const after = { code: 'DISK_LOW', severity: 'warning', start_time: 1, end_time: null } as const;
      outbox.append('events', { ...about, event: { type: 'new', id: String(next), before: null, after } });
      outbox.commit();
    };
    const backlog = Number(process.env.SKEIN_LONG ? 1_000_000 : 20_000);
    for (let i = 0; i < backlog; i++) {
      outbox.append('predictions', prediction(next++));
      if (i % 1_000 === 999) outbox.commit();
    }
    event();
    start();
    expect(link.sent.map(({ channel }) => channel)).toEqual(
      expect.arrayContaining(['batch/events', 'batch/predictions']),
    );
    expect(link.sent[0]!.channel).toBe('batch/events');
    link.hear(envelope(fleet.answer(link.take()[0]!)));
    for (let hour = 0; hour < 3; hour++) {
      event();
      drain.send();
      expect(link.sent.at(0)?.channel).toBe('batch/events');
      link.hear(envelope(fleet.answer(link.take()[0]!)));
      // Nobody answers what else was sent: it is in flight, one batch of it, and stays in order.
      await clock.advance(3_600_000);
      expect(new Set(link.sent.map(({ channel }) => channel))).toEqual(new Set(['batch/predictions']));
      expect(new Set(seqs(link.take()))).toEqual(new Set([0]));
    }
  }, 120_000);

  it('has no more bytes in flight than a slow line carries in the time, but always a batch of each', () => {
    const label = () =>
      Array.from({ length: 40 }, () => Math.random().toString(36).slice(2))
        .join('')
        .slice(0, 120);
    for (let batch = 0; batch < 4; batch++) {
      for (let i = 0; i < 500; i++) outbox.append('predictions', { ...prediction(next++), label: label() });
      outbox.commit();
      outbox.seal('predictions');
    }
    outbox.append('health', { ts: 1, mono: 1, boot: 'b', metrics: {} });
    outbox.commit();
    start();
    const sent = link.take();
    const bytes = sent.reduce((sum, each) => sum + each.length, 0);
    expect(sent.length).toBeLessThan(5);
    expect(bytes).toBeLessThanOrEqual(128 * 1024);
    expect(seqs(sent).filter((seq) => seq > 0).length).toBeGreaterThan(0);
  });

  it('sends the same bytes again after a broken connection, and after silence the oldest first', async () => {
    batches(2);
    start();
    const first = link.take();
    await link.stop();
    link.start();
    expect(link.take()).toEqual(first);
    await clock.advance(15_000);
    expect(link.take()).toEqual([first[0]]);
    expect(link.doubts).toBe(1);
    link.hear(envelope(fleet.answer(first[0]!)));
    expect(link.take()).toEqual([first[1]]);
  });

  it('waits longer each time nobody answers', async () => {
    batches(1);
    start();
    let sends = 0;
    for (let hour = 0; hour < 6; hour++) {
      await clock.advance(3_600_000);
      sends = link.sent.length;
    }
    expect(sends).toBeGreaterThan(50);
    expect(sends).toBeLessThan(400);
  });

  it('sends again only from what the server misses', () => {
    batches(4);
    start();
    const [, ...late] = link.take();
    for (const bytes of late) link.hear(envelope(fleet.answer(bytes)));
    expect(seqs(link.take())).toEqual([0, 2, 4, 6]);
  });

  it('believes no acknowledgement that the server did not sign for this device', () => {
    batches(1);
    start();
    const ack = fleet.answer(link.take()[0]!);
    link.hear(envelope(ack, testSigner('mallory')));
    link.hear(envelope(ack, server, 'd-2'));
    link.hear(new TextEncoder().encode(JSON.stringify(ack)));
    link.hear(new Uint8Array(3));
    expect(warnings).toHaveLength(4);
    expect(predictions(outbox).stored).toBe(0);
    link.hear(envelope(ack));
    expect(predictions(outbox).stored).toBe(2);
  });

  it('takes nothing of an acknowledgement with any byte changed, in either form', () => {
    batches(2);
    start();
    const [first] = link.take() as [Uint8Array];
    const long = envelope(fleet.answer(first));
    const before = { ledger: outbox.ledger(), mark: outbox.mark('predictions') };
    for (const good of [long, sealShortAck(server, 'd-1', [chainHead(first)])]) {
      for (const { what, bytes } of mutations(good, 20)) {
        link.hear(bytes);
        expect({ ledger: outbox.ledger(), mark: outbox.mark('predictions') }, what).toEqual(before);
      }
    }
    expect(troubles).toEqual([]);
    link.hear(long);
    expect(predictions(outbox).stored).toBe(2);
  }, 3_600_000);

  it('is not taken back by acknowledgements that a broker kept', () => {
    batches(1);
    start();
    const old = envelope({ ...fleet.answer(link.take()[0]!), re: undefined } as AckMessage);
    link.hear(old);
    batches(2);
    drain.send();
    for (const bytes of link.take()) link.hear(envelope(fleet.answer(bytes)));
    expect(predictions(outbox).stored).toBe(6);
    batches(1);
    drain.send();
    link.take();
    link.hear(old);
    expect(predictions(outbox)).toMatchObject({ stored: 6, pending: 2, lostAtServer: 0 });
    expect(link.take()).toEqual([]);
  });

  /** One batch delivered, a backup made, three more delivered, the backup restored. What was said of the three. */
  function restored(): AckMessage[] {
    batches(1);
    start();
    link.hear(envelope(fleet.answer(link.take()[0]!)));
    const backup = { mark: fleet.mark, heads: new Map(fleet.heads) };
    batches(3);
    drain.send();
    const answers = link.take().map((bytes) => fleet.answer(bytes));
    for (const answer of answers) link.hear(envelope(answer));
    Object.assign(fleet, backup);
    return answers;
  }

  function firstAsked(): Uint8Array {
    takesNonces = true;
    batches(1);
    start();
    return link.take()[0]!;
  }

  /** What goes first is answered, and all that follows from it. */
  function answered(first: number): void {
    const [probe] = link.take();
    expect(seqs([probe!])).toEqual([first]);
    link.hear(envelope(fleet.answer(probe!)));
    for (const bytes of link.take()) link.hear(envelope(fleet.answer(bytes)));
  }

  it('gives a restored server again what it lost', () => {
    restored();
    batches(1);
    drain.send();
    answered(8);
    expect(predictions(outbox)).toMatchObject({ stored: 10, pending: 0, lostAtServer: 0 });
    expect(fleet.mark.nextSeq).toBe(10);
  });

  it('asks a server that began anew about a stream in which nothing new comes, and gives it again what it lost', () => {
    restored();
    began = true;
    drain.send();
    expectClosed(predictions(outbox));
    expect(predictions(outbox)).toMatchObject({ stored: 6, pending: 2 });
    answered(6);
    expect(predictions(outbox)).toMatchObject({ stored: 8, pending: 0, lostAtServer: 0 });
    expect(fleet.mark.nextSeq).toBe(8);
  });

  it('does not take a kept answer from before the backup was restored for one of now', () => {
    takesNonces = true;
    const said = restored().at(-1)!;
    expect(predictions(outbox)).toMatchObject({ stored: 8, pending: 0 });
    began = true;
    drain.send();
    const bare = { ...said, re: undefined } as AckMessage;
    const shorts = [said.re!, said.head].map((hash) => sealShortAck(server, 'd-1', [hash]));
    for (const kept of [envelope(said), envelope(bare), ...shorts]) {
      link.hear(kept);
      expect(predictions(outbox)).toMatchObject({ stored: 6, pending: 2 });
    }
    answered(6);
    expect(predictions(outbox)).toMatchObject({ stored: 8, pending: 0, lostAtServer: 0 });
    expect(fleet.mark.nextSeq).toBe(8);
  });

  it('asks as an older server reads it, once that one began', () => {
    const first = firstAsked();
    expect(takeNonce(first).nonce).toBeDefined();
    takesNonces = false;
    began = true;
    drain.send();
    const [plain] = link.take();
    expect(plain).toEqual(takeNonce(first).batch);
    link.hear(envelope(fleet.answer(plain!)));
    expect(predictions(outbox)).toMatchObject({ stored: 2, pending: 0 });
  });

  it('asks anew what was on its way when the server began anew, and only then', async () => {
    const first = firstAsked();
    await clock.advance(20_000);
    expect(link.take()).toEqual([first]);
    began = true;
    drain.send();
    const [anew] = link.take();
    expect(seqs([anew!])).toEqual([0]);
    expect(anew).not.toEqual(first);
    link.hear(envelope(fleet.answer(first)));
    expect(predictions(outbox)).toMatchObject({ stored: 0, pending: 2 });
    link.hear(envelope(fleet.answer(anew!)));
    expect(predictions(outbox)).toMatchObject({ stored: 2, pending: 0 });
  });

  it('asks in vain, and at the price of one batch, where the server lost nothing', () => {
    batches(3);
    start();
    for (const bytes of link.take()) link.hear(envelope(fleet.answer(bytes)));
    began = true;
    drain.send();
    answered(4);
    drain.send();
    expect(link.take()).toEqual([]);
    expect(predictions(outbox)).toMatchObject({ stored: 6, pending: 0 });
  });

  it('sends what is committed a last time as it stops, and opens nothing again that was answered', () => {
    batches(1);
    start();
    link.hear(envelope(fleet.answer(link.take()[0]!)));
    outbox.append('health', { ts: 1, mono: 1, boot: 'b', metrics: {} });
    outbox.commit();
    began = true;
    drain.stop();
    expect(link.sent.map(({ channel }) => channel)).toEqual(['batch/health']);
    expect(predictions(outbox)).toMatchObject({ stored: 2, pending: 0 });
    drain.send();
    expect(link.sent).toHaveLength(1);
  });

  it('takes the answer to what it sent as it stopped', () => {
    batches(1);
    start();
    const [first] = link.take();
    drain.stop();
    link.hear(envelope(fleet.answer(first!)));
    expect(predictions(outbox)).toMatchObject({ stored: 2, pending: 0 });
  });

  it('asks nothing more where a new batch tells anyway', () => {
    batches(1);
    start();
    link.hear(envelope(fleet.answer(link.take()[0]!)));
    outbox.append('predictions', prediction(next++));
    outbox.commit();
    began = true;
    drain.send();
    expect(seqs(link.take())).toEqual([2]);
  });

  it('goes on in a new epoch when the server follows another chain, and says so', () => {
    batches(2);
    start();
    const [first] = link.take();
    const { header } = openBatch(first!);
    const other = { stream: header.stream, epoch: header.epoch, upTo: 1, head: 'ab'.repeat(32) };
    link.hear(envelope({ ...other, re: chainHead(first!) }));
    expect(troubles).toMatchObject([{ code: 'OUTBOX_FORKED' }]);
    drain.send();
    const again = openBatch(link.take().at(-1)!).header;
    expect(again).toMatchObject({ seq: 0, n: 2 });
    expect(again.epoch).not.toBe(header.epoch);
    expect(predictions(outbox)).toMatchObject({ unknown: 2, pending: 2 });
    expectClosed(predictions(outbox));
  });

  it('takes a short acknowledgement for what it sent, and nothing from a stranger or for what it did not send', () => {
    link.start();
    drain.start();
    batches(2);
    drain.send();
    const [first, second] = link.take() as [Uint8Array, Uint8Array];
    link.hear(sealShortAck(testSigner('broker'), 'd-1', [chainHead(second)]));
    link.hear(sealShortAck(server, 'd-2', [chainHead(second)]));
    link.hear(sealShortAck(server, 'd-1', ['ab'.repeat(32)]));
    expect(outbox.ledger()[0]).toMatchObject({ stored: 0, pending: 4 });
    link.hear(sealShortAck(server, 'd-1', ['ab'.repeat(32), chainHead(first)]));
    expect(outbox.ledger()[0]).toMatchObject({ stored: 2, pending: 2 });
    link.hear(sealShortAck(server, 'd-1', [chainHead(second)]));
    expect(outbox.ledger()[0]).toMatchObject({ stored: 4, pending: 0 });
    expect(troubles).toEqual([]);
  });
});
