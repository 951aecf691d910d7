/** From what a damaged database left to a stream that goes on, and what a person has to know of it. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import { afterDamage, lastKnown, type Remains } from './after-damage.ts';
import type { Testimony } from './disk-witness.ts';
import { intersect, type Loss, type Run, sizeOf, subtract } from './ranges.ts';
import type { RecordRow } from './sqlite-outbox-chunks.ts';
import type { Salvaged } from './sqlite-outbox-salvage.ts';
import { newStream, type StreamState } from './stream-state.ts';

export const forgotten = (path: string): SkeinError =>
  new SkeinError(
    'OUTBOX_CORRUPT',
    `outbox: ${path} has forgotten what it had accepted: its log was lost or cut`,
  );

export interface Recovered {
  state: StreamState;
  records: RecordRow[];
  /** What became unknown by this. */
  unknown: Loss[];
}

export const remainsOf = (
  stream: Stream,
  found: Salvaged | undefined,
  testimony: Testimony | undefined,
  marks: readonly StreamState[],
): Remains & { stream: Stream } => ({
  stream,
  state: found?.state,
  seen: testimony?.seen.get(stream),
  exact: testimony?.exact ?? false,
  reserved: marks.find((mark) => mark.stream === stream),
  losses: found?.losses ?? [],
});

export function recoverStream(
  remains: Remains & { stream: Stream },
  found: Salvaged | undefined,
  fresh: { epoch: string; ordinal: number },
): Recovered {
  const last = lastKnown(remains);
  if (!last)
    return { state: newStream(remains.stream, fresh.epoch, fresh.ordinal), records: [], unknown: [] };
  const { records, doubtful } = neverSent(last, remains, found);
  const carried = runsOf(records);
  const state = afterDamage(last, { carried, doubtful }, fresh);
  const before = new Set(last.losses);
  return {
    state,
    records,
    unknown: state.losses.filter((loss) => loss.kind === 'unknown' && !before.has(loss)),
  };
}

/** A database that forgot steps may not know that it offered something: then only what was not even sealed is safe. */
function neverSent(
  last: StreamState,
  { state, seen }: Remains,
  found: Salvaged | undefined,
): { records: RecordRow[]; doubtful: Run[] } {
  if (!found || (state && state.epoch !== last.epoch)) return { records: [], doubtful: [] };
  const own = last.losses.filter((loss) => loss.epoch === last.epoch);
  const open = subtract({ from: last.deliveredNext, to: last.nextSeq - 1 }, own);
  const safeFrom = seen && seen.steps > (state?.steps ?? 0) ? seen.sealedNext : 0;
  const inOpen = found.records.filter(({ seq }) => open.some((run) => seq >= run.from && seq <= run.to));
  const unsure = runsOf(inOpen.filter(({ seq }) => seq < safeFrom));
  return {
    records: inOpen.filter(({ seq }) => seq >= safeFrom),
    doubtful: [...found.doubtful, ...unsure].flatMap((run) =>
      open.flatMap((frame) => intersect([run], frame)),
    ),
  };
}

/** Of numbers in order. */
function runsOf(records: readonly RecordRow[]): Run[] {
  const runs: Run[] = [];
  for (const { seq } of records) {
    const run = runs.at(-1);
    if (run?.to === seq - 1) run.to = seq;
    else runs.push({ from: seq, to: seq });
  }
  return runs;
}

const MAX_TOLD = 16;

export function damageReport(cause: SkeinError, streams: readonly Recovered[]): SkeinError {
  const unknown = streams.flatMap(({ state, unknown: runs }) =>
    runs.map(({ epoch, from, to, reason }) => ({ stream: state.stream, epoch, from, to, reason })),
  );
  const carried = streams.reduce((sum, { records }) => sum + records.length, 0);
  const told = unknown
    .slice(0, MAX_TOLD)
    .map(({ stream, from, to, reason }) => `${stream} ${from}–${to} (${reason})`);
  if (unknown.length > MAX_TOLD) told.push(`${unknown.length - MAX_TOLD} more ranges`);
  return new SkeinError(
    'OUTBOX_CORRUPT',
    `${cause.message}; a new epoch begins with ${carried} records that could be read; ` +
      `the fate of ${sizeOf(unknown)} records is unknown${told.length > 0 ? `: ${told.join(', ')}` : ''}`,
    {
      cause,
      fix: 'Check the disk. The damaged file lies beside the new one as *.corrupt-*.',
      data: { unknown: sizeOf(unknown), ranges: unknown, carried },
    },
  );
}
