/** `skein-agent buffer`: the ledger of the running agent, or of its file when none runs. Nothing is changed. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type { Config } from '../config/schema.ts';
import { formatUnit } from '../config/units.ts';
import type { StreamLedger } from '../outbox/port.ts';
import { readLedger } from '../outbox/sqlite-outbox-ledger.ts';
import { fetchStatus } from './local-client.ts';
import { table } from './tables.ts';

export const BUFFER_HELP = `
stored + pending + dropped + lost at server + unknown = accepted, for each stream; below it the ranges with their reasons.
Examples:
  skein-agent buffer
  skein-agent buffer -o json | jq '.streams[] | {stream, pending, dropped, droppedRanges}'
Exit codes: 0 done, 1 the file cannot be read, 2 wrong command or configuration.
`;

export interface BufferReport {
  /** `file`: no agent answers; what one would hold in memory is not in it. */
  from: 'agent' | 'file';
  ts: Millis;
  /** Records of at most this long are lost in a power cut. */
  lossWindowMs: Millis;
  streams: StreamLedger[];
  /** On the disk, of database, log and reserve; 0 where there is none. */
  files: { database: Bytes; log: Bytes; reserve: Bytes };
}

/** @throws SkeinError UNREACHABLE, OUTBOX_CORRUPT, DISK_FAILED */
export async function readBuffer(config: Config): Promise<BufferReport> {
  const path = pathOf(config);
  const files = {
    database: sizeOf(path),
    log: sizeOf(`${path}-wal`),
    reserve: sizeOf(`${path}.reserve`),
  };
  try {
    const { ts, ledger, lossWindowMs } = await fetchStatus(config);
    return { from: 'agent', ts, lossWindowMs, streams: ledger, files };
  } catch (thrown) {
    if (asSkeinError(thrown).code !== 'UNREACHABLE' || !existsSync(path)) throw thrown;
    const lossWindowMs = config.outbox.commitInterval;
    return { from: 'file', ts: Date.now(), lossWindowMs, streams: readLedger(path), files };
  }
}

/** A checkout's `SKEIN_STATE_DIR` may name the folder of server and agent together. */
function pathOf({ stateDir }: Config): string {
  const places = [stateDir, join(stateDir, 'agent')].map((folder) => join(folder, 'outbox.db'));
  return places.find((path) => existsSync(path)) ?? places[0]!;
}

const sizeOf = (path: string): Bytes => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

const COLUMNS = [
  ...['STREAM', 'OBSERVED', 'ACCEPTED', 'STORED', 'PENDING', 'DROPPED', 'LOST_AT_SERVER', 'UNKNOWN'],
  ...['WAITING', 'REFUSED', 'PENDING_BYTES', 'OLDEST_UNSENT'],
];

export function bufferText({ from, ts, lossWindowMs, streams, files }: BufferReport): string {
  const parts = [
    from === 'agent' ? 'The running agent’s buffer' : 'No agent answers; this is its file',
    table(
      COLUMNS,
      streams.map((e) => [
        ...[e.stream, e.observed, e.accepted, e.stored, e.pending, e.dropped, e.lostAtServer, e.unknown],
        ...[
          e.waiting,
          e.refused,
          e.pendingBytes,
          e.oldestPendingAt === null ? '-' : ageText(ts - e.oldestPendingAt),
        ],
      ]),
    ),
  ];
  const ranges = streams.flatMap(rangeRows);
  if (ranges.length > 0)
    parts.push(table(['STREAM', 'WHAT', 'EPOCH', 'FROM', 'TO', 'RECORDS', 'REASON'], ranges));
  const { database, log, reserve } = files;
  const loss = formatUnit('duration', lossWindowMs);
  parts.push(
    `${database + log + reserve} bytes on the disk: database ${database}, log ${log}, reserve ${reserve}`,
    `A power cut loses at most the records of ${loss}; alarms, incidents and update reports are written at once.`,
  );
  return parts.join('\n\n');
}

/** Of a clock that was set back: none. */
const ageText = (ms: Millis): string => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
};

const rangeRows = (e: StreamLedger): (string | number)[][] =>
  (
    [
      ['dropped', e.droppedRanges],
      ['lost at server', e.lostRanges],
      ['unknown', e.unknownRanges],
    ] as const
  ).flatMap(([what, ranges]) =>
    ranges.map((r) => [e.stream, what, r.epoch, r.from, r.to, r.to - r.from + 1, r.reason]),
  );
