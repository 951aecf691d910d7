/**
 * The machine recordings under `models/host/`: gzipped CSV of raw counters at 1 Hz. A jump of more than 5 s, or a
 * reboot, is a gap: rates and windows never span it.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { HOST_FEATURES, type HostCounters, hostRates } from '@skein/agent/sources/host-rates.ts';
import { SkeinError } from '@skein/protocol/errors.ts';

const GAP_MS = 5_000;

/** Rows of counters by column name. `cpus` is missing in old recordings: given then. */
function parseCounters(text: string, cpus: number): HostCounters[] {
  const [head, ...lines] = text.trim().split('\n');
  const columns = head!.split(',');
  return lines.flatMap((line) => {
    const cells = line.split(',').map(Number);
    // The recorder may be writing its last line while it is copied.
    if (cells.length !== columns.length || cells.some(Number.isNaN)) return [];
    return { cpus, ...Object.fromEntries(columns.map((column, i) => [column, cells[i]!])) } as HostCounters;
  });
}

/** Feature rows in the order of HOST_FEATURES, cut at gaps. */
export function readRecording(path: string, cpus = 2): Float64Array[][] {
  const bytes = readFileSync(path);
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
  const segments: Float64Array[][] = [];
  let current: Float64Array[] = [];
  let before: HostCounters | undefined;
  for (const counters of parseCounters(text, cpus)) {
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
