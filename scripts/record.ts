/**
 * `npm run record -- FILE.csv [--seconds N]`: this machine's raw counters at 1 Hz, one row a second, appended.
 * Raw, not rates: features can be changed later and the recording stays good. A gap (suspend, restart) is a jump
 * in `ts_ms`; readers must not make windows across one.
 */
import { appendFileSync, existsSync } from 'node:fs';
import { readHostCounters } from '@skein/agent/sources/linux-host-source.ts';
import { systemClock } from '@skein/agent/system-clock.ts';

const PERIOD_MS = 1_000;
const HELP =
  'npm run record -- FILE.csv [--seconds N]   raw counters of this machine at 1 Hz; Ctrl-C ends it\n';

const snapshot = () => ({
  ts_ms: systemClock.now(),
  ...readHostCounters('/', Math.round(systemClock.mono())),
});

export async function run(args: string[]): Promise<number> {
  const file = args.find((a) => !a.startsWith('-') && a.endsWith('.csv'));
  if (!file || args.includes('--help')) {
    process.stdout.write(HELP);
    return file ? 0 : 2;
  }
  const limit = args.includes('--seconds')
    ? Number(args[args.indexOf('--seconds') + 1])
    : Number.POSITIVE_INFINITY;
  if (!existsSync(file)) appendFileSync(file, `${Object.keys(snapshot()).join(',')}\n`);
  let rows = 0;
  let stopped = false;
  process.once('SIGINT', () => (stopped = true));
  process.once('SIGTERM', () => (stopped = true));
  for (let due = systemClock.mono(); rows < limit && !stopped; due += PERIOD_MS) {
    await new Promise((wake) => setTimeout(wake, Math.max(0, due - systemClock.mono())));
    appendFileSync(file, `${Object.values(snapshot()).join(',')}\n`);
    rows += 1;
    if (process.stderr.isTTY) process.stderr.write(`\r${rows} rows → ${file}`);
  }
  return 0;
}
