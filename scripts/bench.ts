/**
 * `npm run bench -- NAME [--json]`: measures one thing against its limit or its peer. Each figure is printed when it
 * is known: a line of a table, or with --json one JSON object a line. Without a name the benchmarks are listed.
 * Exit code: 0 every bar holds, 1 one does not, 2 no such benchmark.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Benchmark, Emit, Measurement } from './bench/measurement.ts';

const BENCHES = join(import.meta.dirname, 'bench');

const names = (): string[] =>
  readdirSync(BENCHES)
    .filter((file) => file.endsWith('.ts') && file !== 'measurement.ts')
    .map((file) => file.slice(0, -'.ts'.length))
    .sort();

const WIDTHS = [36, 14, 10, 26] as const;

const row = (cells: readonly string[]): string => {
  const [metric = '', value = '', unit = '', bar = '', holds = ''] = cells;
  const [m, v, u, b] = WIDTHS;
  return `${metric.padEnd(m)} ${value.padStart(v)} ${unit.padEnd(u)} ${bar.padEnd(b)} ${holds}`.trimEnd();
};

/** Three significant digits below a thousand, whole numbers above. */
const figure = (value: number): string => {
  if (!Number.isFinite(value)) return String(value);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : String(+value.toPrecision(3));
};

const verdict = (holds: boolean | null): string => (holds === null ? '' : holds ? 'yes' : 'NO');

function printer(json: boolean): Emit {
  if (json) return (measurement) => void process.stdout.write(`${JSON.stringify(measurement)}\n`);
  process.stdout.write(`${row(['metric', 'value', 'unit', 'bar', 'holds'])}\n`);
  return ({ metric, value, unit, bar, holds }) => {
    process.stdout.write(`${row([metric, figure(value), unit, String(bar ?? ''), verdict(holds)])}\n`);
  };
}

export async function run(args: string[]): Promise<number> {
  const name = args.find((arg) => !arg.startsWith('-'));
  const known = names();
  if (!name || !known.includes(name)) {
    const heading = name ? `There is no benchmark \`${name}\`.` : 'npm run bench -- NAME [--json]';
    process.stderr.write(`${heading}\nBenchmarks: ${known.join(', ') || 'none'}\n`);
    return name ? 2 : 0;
  }
  const benchmark = (await import(`./bench/${name}.ts`)) as Benchmark;
  const print = printer(args.includes('--json'));
  const failed: Measurement[] = [];
  await benchmark.run((measurement) => {
    print(measurement);
    if (measurement.holds === false) failed.push(measurement);
  });
  return failed.length ? 1 : 0;
}
