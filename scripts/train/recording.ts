/**
 * The machine recordings under `models/host/`: gzipped CSV of raw counters at 1 Hz. A jump of more than 5 s, or a
 * reboot, is a gap: rates and windows never span it. `excluded.json` beside the recording names stretches of
 * deliberate stress, which are no part of normal behaviour; they become gaps.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { HOST_FEATURES, type HostCounters, hostRates } from '@skein/agent/sources/host-rates.ts';
import { SkeinError } from '@skein/protocol/errors.ts';

const GAP_MS = 5_000;

/** Rows of counters by column name. `cpus` is missing in old recordings: given then. */
type Row = HostCounters & { ts_ms: number };

function parseCounters(text: string, cpus: number): Row[] {
  const [head, ...lines] = text.trim().split('\n');
  const columns = head!.split(',');
  return lines.flatMap((line) => {
    const cells = line.split(',').map(Number);
    // The recorder may be writing its last line while it is copied.
    if (cells.length !== columns.length || cells.some(Number.isNaN)) return [];
    return { cpus, ...Object.fromEntries(columns.map((column, i) => [column, cells[i]!])) } as Row;
  });
}

interface Stretch {
  /** ISO 8601, both inclusive. */
  from: string;
  to: string;
  why: string;
}

function excludedBeside(path: string): { from: number; to: number }[] {
  const file = join(dirname(path), 'excluded.json');
  const stretches: Stretch[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];
  return stretches.map(({ from, to }) => ({ from: Date.parse(from), to: Date.parse(to) }));
}

/** Feature rows in the order of HOST_FEATURES, cut at gaps. */
export function readRecording(path: string, cpus = 2): Float64Array[][] {
  const bytes = readFileSync(path);
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  const segments: Float64Array[][] = [];
  let current: Float64Array[] = [];
  let before: HostCounters | undefined;
  const excluded = excludedBeside(path);
  for (const counters of parseCounters(text, cpus)) {
    if (excluded.some(({ from, to }) => counters.ts_ms >= from && counters.ts_ms <= to)) continue;
    const elapsed = before ? counters.mono_ms - before.mono_ms : 0;
    if (!before || elapsed <= 0 || elapsed > GAP_MS) {
      if (current.length > 0) segments.push(current);
      current = [];
    } else {
      const rates = hostRates(before, counters);
      current.push(Float64Array.from(HOST_FEATURES, (name) => rates[name] ?? Number.NaN));
    }
    before = counters;
  }
  if (current.length > 0) segments.push(current);
  if (segments.length === 0) {
    throw new SkeinError('SOURCE_INVALID', `${path} holds no two readings in a row`, {
      fix: 'Record with `npm run record`.',
    });
  }
  return segments;
}
