/**
 * A group of verified batches inside one transaction: a verdict each, in the order they came, then the rows they
 * amount to and the watermarks they lead to, each written once however many batches moved it.
 */
import type { AckMessage } from '@skein/protocol/batch/ack.ts';
import { isRecord } from '@skein/protocol/batch/check-record.ts';
import { covers } from '@skein/protocol/batch/header.ts';
import type { OpenedBatch } from '@skein/protocol/batch/sealed.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';
import {
  type AcceptedBatch,
  insertBatches,
  insertGaps,
  keyOf,
  readGaps,
  readStoredHead,
  readWatermarks,
  reportFork,
} from '../store/sqlite-batches.ts';
import { acceptBatch, NOTHING, storedWithin, type Verdict, type Watermark } from './accept-batch.ts';
import type { RecordSink } from './port.ts';

type Tx = Transaction<Tables>;

/** A batch whose signature holds. */
export interface Verified {
  batch: OpenedBatch;
  bytes: Uint8Array;
  /** It came with: the answer speaks of both. */
  nonce?: Uint8Array | undefined;
  records: unknown[];
}

/** What to say after the commit, and never before it. */
export interface Answer {
  device: string;
  ack: Omit<AckMessage, 're'>;
  verdict: Verdict['kind'];
  records: number;
  of: Verified;
}

export interface CommitDeps {
  clock: Clock;
  log: Log;
  sinks: readonly RecordSink[];
}

/** What the group has decided and not yet written. */
interface Pending {
  marks: Map<string, Watermark>;
  accepted: AcceptedBatch[];
}

export async function runCommit(tx: Tx, group: readonly Verified[], deps: CommitDeps): Promise<Answer[]> {
  const marks = await readWatermarks(
    tx,
    group.map(({ batch }) => batch.header),
  );
  const pending: Pending = { marks, accepted: [] };
  const answers: Answer[] = [];
  for (const one of group) answers.push(await judge(tx, one, pending, deps));
  await insertBatches(tx, pending.accepted);
  return answers;
}

async function judge(tx: Tx, of: Verified, pending: Pending, deps: CommitDeps): Promise<Answer> {
  const { batch } = of;
  const { header, head } = batch;
  const mark = pending.marks.get(keyOf(header)) ?? NOTHING;
  const old = header.seq < mark.nextSeq && header.n > 0;
  const storedHead = old ? await headUnder(tx, batch, pending) : undefined;
  const verdict = acceptBatch(mark, { header, head }, storedHead);
  if (verdict.kind === 'accept') await store(tx, of, verdict, pending, deps);
  if (verdict.kind === 'fork') await reportFork(tx, header, header.seq, deps.clock.now());
  const now = verdict.kind === 'accept' ? verdict.next : mark;
  const told = header.bridge !== null && covers(header).to < now.nextSeq;
  const ack = {
    stream: header.stream,
    epoch: header.epoch,
    upTo: now.nextSeq - 1,
    head: now.head,
    ...(told ? { stored: await hasRecords(tx, batch) } : {}),
  };
  const records = verdict.kind === 'accept' ? header.n : 0;
  return { device: header.device, ack, verdict: verdict.kind, records, of };
}

/** Chain head of what is stored under this batch's number, or is about to be. */
async function headUnder(
  tx: Tx,
  { header }: OpenedBatch,
  { accepted }: Pending,
): Promise<string | undefined> {
  const key = keyOf(header);
  const same = accepted.find(
    ({ batch: { header: h } }) => h.seq === header.seq && h.n > 0 && keyOf(h) === key,
  );
  return same ? same.batch.head : readStoredHead(tx, header, header.seq);
}

async function store(
  tx: Tx,
  verified: Verified,
  verdict: Verdict & { kind: 'accept' },
  pending: Pending,
  { clock, log, sinks }: CommitDeps,
): Promise<void> {
  const { batch, records } = verified;
  const { stream, device, epoch, seq } = batch.header;
  const accepted = { ...verified, ...verdict, receivedAt: clock.now() };
  pending.accepted.push(accepted);
  pending.marks.set(keyOf(batch.header), verdict.next);
  // At once: a bridge in the same group may ask for them.
  if (verdict.gaps.length > 0) await insertGaps(tx, accepted);
  const understood = records.filter((record) => isRecord(stream, record));
  if (understood.length < records.length) {
    const data = { device, stream, seq, records: records.length - understood.length };
    log.warn('ingest: records of another version are stored but not looked at', data);
  }
  if (understood.length === 0) return;
  for (const sink of sinks) {
    if (sink.stream === stream) await sink.accept(tx, device, understood, { epoch, seq });
  }
}

/** Were the records that this bridge gives up stored before it came? */
async function hasRecords(tx: Tx, { header }: OpenedBatch): Promise<boolean> {
  const range = covers(header);
  return storedWithin(range, await readGaps(tx, header, range)) > 0;
}
