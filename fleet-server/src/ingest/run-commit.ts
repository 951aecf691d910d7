/** One verified batch inside the group's transaction: verdict, rows, sinks, and the acknowledgement they justify. */
import type { AckMessage } from '@skein/protocol/batch/ack.ts';
import { isRecord } from '@skein/protocol/batch/check-record.ts';
import { covers } from '@skein/protocol/batch/header.ts';
import { chainHead, type OpenedBatch } from '@skein/protocol/batch/sealed.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';
import { insertBatch, readGaps, readStoredHead, readWatermark, reportFork } from '../store/sqlite-batches.ts';
import { acceptBatch, storedWithin, type Verdict } from './accept-batch.ts';
import type { RecordSink } from './port.ts';

type Tx = Transaction<Tables>;

/** A batch whose signature holds. */
export interface Verified {
  batch: OpenedBatch;
  bytes: Uint8Array;
  records: unknown[];
}

/** What to say after the commit, and never before it. */
export interface Answer {
  device: string;
  ack: AckMessage;
  verdict: Verdict['kind'];
  records: number;
}

export interface CommitDeps {
  clock: Clock;
  log: Log;
  sinks: readonly RecordSink[];
}

export async function runCommit(tx: Tx, verified: Verified, deps: CommitDeps): Promise<Answer> {
  const { batch, bytes } = verified;
  const { header, head } = batch;
  const mark = await readWatermark(tx, header);
  const old = header.seq < mark.nextSeq && header.n > 0;
  const storedHead = old ? await readStoredHead(tx, header, header.seq) : undefined;
  const verdict = acceptBatch(mark, { header, head }, storedHead);
  if (verdict.kind === 'accept') await store(tx, verified, verdict, deps);
  if (verdict.kind === 'fork') await reportFork(tx, header, header.seq, deps.clock.now());
  const now = verdict.kind === 'accept' ? verdict.next : mark;
  const told = header.bridge !== null && covers(header).to < now.nextSeq;
  const ack: AckMessage = {
    stream: header.stream,
    epoch: header.epoch,
    upTo: now.nextSeq - 1,
    head: now.head,
    re: chainHead(bytes),
    ...(told ? { stored: await hasRecords(tx, batch) } : {}),
  };
  const records = verdict.kind === 'accept' ? header.n : 0;
  return { device: header.device, ack, verdict: verdict.kind, records };
}

async function store(
  tx: Tx,
  verified: Verified,
  verdict: Verdict & { kind: 'accept' },
  { clock, log, sinks }: CommitDeps,
): Promise<void> {
  const { batch, records } = verified;
  const { stream, device, epoch, seq } = batch.header;
  await insertBatch(tx, { ...verified, ...verdict, receivedAt: clock.now() });
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
