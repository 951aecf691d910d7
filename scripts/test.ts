/**
 * `npm test`: format, types, then the tiers, each with its own time and workers, and one closing line for machines.
 * A tier whose Debian packages cannot be had is skipped and says so; it never passes silently.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ensureTools } from './apt-tools.ts';
import { buildDashboard } from './dashboard.ts';
import { type Count, readReport } from './test-report.ts';

interface Outcome extends Count {
  name: string;
  seconds: number;
}

const ROOT = join(import.meta.dirname, '..');
const RESULTS = join(ROOT, 'test', 'artifacts', 'results');
/** Of the many processes that the tests start each would compile the same sources: an eighth of the flows' time. */
const COMPILED = join(ROOT, 'test', 'artifacts', 'compiled');

interface Tier {
  name: string;
  projects: string[];
  /** Files at once. */
  workers: number;
}

/** Of the small tests some always wait for a socket; a flow starts a few processes, which fill about one processor. */
const TIERS: Tier[] = [
  { name: 'unit', projects: ['unit', 'contract', 'sim'], workers: availableParallelism() + 1 },
  { name: 'flows', projects: ['flow'], workers: availableParallelism() },
  { name: 'alone', projects: ['alone'], workers: 1 },
  { name: 'installed', projects: ['browser', 'package'], workers: availableParallelism() },
];

function command(file: string, args: string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: ROOT, env, stdio: 'inherit' });
    child.once('error', () => resolve(127));
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

async function timed(name: string, work: () => Promise<Count>): Promise<Outcome> {
  process.stdout.write(`\n── ${name} ${'─'.repeat(Math.max(3, 60 - name.length))}\n`);
  const started = performance.now();
  const outcome = await work();
  return { name, ...outcome, seconds: (performance.now() - started) / 1000 };
}

const check = (name: string, file: string, args: string[]): Promise<Outcome> =>
  timed(name, async () => {
    const code = await command(file, args);
    const failures = code === 0 ? [] : [`${name}: ${file} ended with ${code}`];
    return { passed: 1 - failures.length, failed: failures.length, skipped: 0, failures };
  });

const tier = ({ name, projects, workers }: Tier, long: boolean): Promise<Outcome> =>
  timed(name, async () => {
    const file = join(RESULTS, `${name}.json`);
    const args = [
      'run',
      '--passWithNoTests',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
    ];
    for (const project of projects) args.push('--project', project);
    args.push(`--maxWorkers=${workers}`);
    const env = { ...process.env, SKEIN_LONG: long ? '1' : '', NODE_COMPILE_CACHE: COMPILED };
    return readReport(file, await command('vitest', args, env), ROOT);
  });

function summarise(outcomes: Outcome[]): number {
  const sum = (key: 'passed' | 'failed' | 'skipped') => outcomes.reduce((total, o) => total + o[key], 0);
  process.stdout.write('\n');
  for (const failure of outcomes.flatMap((o) => o.failures)) process.stdout.write(`✗ ${failure}\n`);
  for (const o of outcomes) {
    const mark = o.failed ? '✗' : '✓';
    process.stdout.write(
      `${mark} ${o.name.padEnd(12)} ${String(o.passed).padStart(5)} passed ${String(o.failed).padStart(3)} failed ${String(o.skipped).padStart(3)} skipped ${o.seconds.toFixed(1).padStart(7)} s\n`,
    );
  }
  const skipped = sum('skipped');
  process.stdout.write(
    `\n${sum('passed')} passed, ${sum('failed')} failed${skipped ? `, ${skipped} skipped` : ''}\n`,
  );
  return sum('failed') ? 1 : 0;
}

/** `--long`: full campaigns; `--only NAME[,NAME]`: some tiers or projects; the closing line counts what ran. */
export async function run(args: string[]): Promise<number> {
  const long = args.includes('--long');
  const only = args.includes('--only') ? args[args.indexOf('--only') + 1]?.split(',') : undefined;
  const wanted = (name: string) => !only || only.includes(name);
  rmSync(RESULTS, { recursive: true, force: true });
  mkdirSync(RESULTS, { recursive: true });
  for (const line of await ensureTools()) process.stdout.write(`${line}\n`);
  await buildDashboard();
  const outcomes: Outcome[] = [];
  const checks: Promise<Outcome>[] = [];
  if (wanted('format')) checks.push(check('format', 'biome', ['check', '.']));
  if (wanted('types')) {
    checks.push(check('types', 'tsc', ['--noEmit']));
    checks.push(check('types: page', 'tsc', ['--noEmit', '-p', 'fleet-server/dashboard/tsconfig.json']));
  }
  outcomes.push(...(await Promise.all(checks)));
  for (const each of TIERS) {
    const projects = each.projects.filter((project) => wanted(each.name) || wanted(project));
    if (projects.length > 0) outcomes.push(await tier({ ...each, projects }, long));
  }
  return summarise(outcomes);
}
