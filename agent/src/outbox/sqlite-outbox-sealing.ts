/** From committed records to signed batches, and from stored bytes to what may be sent. Inside a transaction. */
import type { BatchHeader } from '@skein/protocol/batch/header.ts';
import { type BatchForm, chainHead, sealBatch } from '@skein/protocol/batch/sealed.ts';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type { SealedRow } from './port.ts';
import type { RecordRow } from './sqlite-outbox-chunks.ts';
import type { OutboxCore } from './sqlite-outbox-core.ts';
import type { BatchRow } from './sqlite-outbox-queries.ts';
import { afterSeal, bridgeHeader, type Identity, lose, nextHeader } from './stream-state.ts';
import { cutAtAlarms, isAlarm } from './urgent.ts';

export interface Sealing extends Identity {
  /** The device's report key. */
  signer: Signer;
  /** Asked at each batch; `SKB1` when absent. */
  form?: (() => BatchForm) | undefined;
  /** Cut batches where alarms begin and end? */
  cutAtAlarms?: (stream: Stream) => boolean;
}

const SKB1: BatchForm = { encoding: 'columns' };
const MAX_SEAL_TEXT: Bytes = 512 * 1024;
/** Batches sealed while fewer than this wait count as offered at once: one write less per batch. */
const OFFER_AHEAD = 8;

/** The oldest records, at most `limit`, become a batch; undefined when there are none. */
export function sealOldest(
  core: OutboxCore,
  sealing: Sealing,
  stream: Stream,
  limit: number,
): SealedRow | undefined {
  const records = core.chunks
    .oldestRecords(stream, limit, MAX_SEAL_TEXT)
    .map((row) => ({ ...row, record: JSON.parse(row.body) as unknown }));
  if (records.length === 0) return undefined;
  const alarms = records.map(({ record }) => isAlarm(stream, record));
  const end = sealing.cutAtAlarms?.(stream) ? cutAtAlarms(alarms) : records.length;
  return sealSome(core, sealing, stream, records.slice(0, end));
}

interface Parsed extends RecordRow {
  record: unknown;
}

/** As many of `records` as fit the limit of a batch; a single one that never fits is given up. */
function sealSome(
  core: OutboxCore,
  sealing: Sealing,
  stream: Stream,
  records: readonly Parsed[],
): SealedRow | undefined {
  const { fleet, device, signer, form = () => SKB1 } = sealing;
  const { encoding, zstd } = form();
  const header = nextHeader(
    core.state(stream),
    { fleet, device },
    {
      seq: records[0]!.seq,
      n: records.length,
      observed: records.reduce((sum, { leftOut }) => sum + leftOut, records.length),
    },
  );
  const bodies = records.map(({ record }) => record);
  let bytes: Uint8Array;
  try {
    bytes = sealBatch(header, bodies, signer, encoding, zstd);
  } catch (thrown) {
    const error = asSkeinError(thrown);
    if (error.code !== 'BATCH_INVALID') throw error;
    if (records.length > 1) return sealSome(core, sealing, stream, records.slice(0, records.length >> 1));
    const run = { from: header.seq, to: header.seq };
    core.chunks.delete(stream, run);
    core.save(lose(core.state(stream), run, 'dropped', 'unsealable'));
    core.options.trouble(error);
    return undefined;
  }
  const alarms = bodies.reduce<number>((count, body) => count + Number(isAlarm(stream, body)), 0);
  return store(core, stream, { at: records[0]!.at, alarms }, { header, bytes });
}

function store(
  core: OutboxCore,
  stream: Stream,
  { at, alarms }: { at: Millis; alarms: number },
  { header, bytes }: { header: BatchHeader; bytes: Uint8Array },
): SealedRow {
  const head = chainHead(bytes);
  const to = header.seq + header.n - 1;
  const row: BatchRow & Final = {
    from: header.gaps[0]?.from ?? header.seq,
    to,
    seq: header.seq,
    n: header.n,
    prev: header.prev,
    head,
    firstAt: at,
    alarms,
    size: bytes.length,
    offered: core.queries.countOpen(stream, OFFER_AHEAD) < OFFER_AHEAD,
    doneAt: null,
    bridge: false,
    doubt: [],
    regained: false,
    hash: head,
    bytes,
  };
  core.queries.insertBatch(stream, row);
  core.chunks.delete(stream, { from: header.seq, to });
  const state = core.state(stream);
  core.save(afterSeal(state, to + 1, head));
  return asSealed(stream, state.epoch, row);
}

/** From here on the server may know these bytes; a bridge is signed now and then as final as a batch. */
export function offerOldest(core: OutboxCore, sealing: Sealing, stream: Stream, limit: number): BatchRow[] {
  const open = core.queries.openBatches(stream, limit);
  if (open.every((row) => row.offered)) return open;
  return core.write(() =>
    core.queries.openBatches(stream, limit).map((row) => {
      if (row.offered) return row;
      const bytes = row.bytes ?? signBridge(core, sealing, stream, row);
      const offered = { ...row, offered: true, bytes, hash: chainHead(bytes) };
      core.queries.updateBatch(stream, offered);
      return offered;
    }),
  );
}

function signBridge(core: OutboxCore, sealing: Sealing, stream: Stream, row: BatchRow): Uint8Array {
  const { fleet, device, signer, form = () => SKB1 } = sealing;
  const header = bridgeHeader(core.state(stream), { fleet, device }, row);
  return sealBatch(header, [], signer, form().encoding);
}

/** What has its final bytes; behind a bridge that could not be signed yet nothing fits. */
export function sendable(core: OutboxCore, stream: Stream, rows: readonly BatchRow[]): SealedRow[] {
  const { epoch } = core.state(stream);
  const unsigned = rows.findIndex((row) => !isFinal(row));
  const ready = unsigned === -1 ? rows : rows.slice(0, unsigned);
  return ready.filter(isFinal).map((row) => asSealed(stream, epoch, row));
}

type Final = { hash: string; bytes: Uint8Array };
const isFinal = (row: BatchRow): row is BatchRow & Final => row.hash !== null && row.bytes !== null;

function asSealed(stream: Stream, epoch: string, row: BatchRow & Final): SealedRow {
  const { seq, n, to: upTo, bridge, hash, bytes } = row;
  return { stream, epoch, seq, n, upTo, bridge, hash, bytes };
}
