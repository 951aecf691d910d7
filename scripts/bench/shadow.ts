/**
 * What a challenger costs the model that works: p95 of its `predict` with and without one, in turns of half a second, and
 * the processor time that the challenger's thread took, as Linux counted it. A reading comes every 5 ms.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { heavyModel, stage } from '../staged-models.ts';
import { quantile } from '../timing.ts';
import type { Emit } from './measurement.ts';

const SIZE = 512;
const LAYERS = 8;
const TURNS = 40;
const TURN_MS = 500;
const PERIOD_MS = 5;
const BUDGET = 0.2;
/** Of a background thread, see onnx-worker.ts. */
const NICE = 10;
const TICKS_PER_SECOND = 100;

const spec = (name: string) => ({ name, type: 'float32' as const, shape: [-1, SIZE] });
const inputs = { x: { type: 'float32' as const, dims: [4, SIZE], data: new Float32Array(4 * SIZE).fill(1) } };

/** Processor seconds of this process's threads in the background; fields 14, 15 and 19 of proc(5)'s stat. */
function backgroundSeconds(): number {
  const ticks = readdirSync('/proc/self/task').map((thread) => {
    const text = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[16]) === NICE ? Number(fields[11]) + Number(fields[12]) : 0;
  });
  return ticks.reduce((sum, value) => sum + value, 0) / TICKS_PER_SECOND;
}

async function readings(engine: Engine): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + TURN_MS;
  while (performance.now() < end) {
    const started = performance.now();
    await engine.predict('works', inputs);
    times.push((performance.now() - started) * 1000);
    await sleep(PERIOD_MS);
  }
  return times;
}

export async function run(emit: Emit): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'skein-shadow-'));
  const engineWith = async (shadows: { model: string; challenger: string; cpuBudget: number }[]) => {
    const engine = new Engine({ backend: new OnnxBackend(), clock: systemClock, shadows });
    const common = { version: '1.0.0', inputs: [spec('x')], outputs: [spec('y')] };
    await engine.activate(stage(directory, heavyModel(SIZE, LAYERS, -1), { name: 'works', ...common }));
    if (shadows.length > 0)
      await engine.activate(stage(directory, heavyModel(SIZE, LAYERS, -1, 2), { name: 'next', ...common }));
    return engine;
  };
  try {
    const without = await engineWith([]);
    const beside = await engineWith([{ model: 'works', challenger: 'next', cpuBudget: BUDGET }]);
    const alone: number[] = [];
    const shadowed: number[] = [];
    let took = 0;
    for (let turn = 0; turn < TURNS; turn++) {
      alone.push(...(await readings(without)));
      const before = backgroundSeconds();
      shadowed.push(...(await readings(beside)));
      took += backgroundSeconds() - before;
    }
    const status = beside.shadows()[0]!;
    await Promise.all([without.close(), beside.close()]);
    report(emit, alone, shadowed, took, status);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function report(
  emit: Emit,
  alone: number[],
  shadowed: number[],
  tookSeconds: number,
  { compared, skipped }: ReturnType<Engine['shadows']>[number],
): void {
  const said = { bench: 'shadow', bar: null, holds: null };
  const [before, after] = [quantile(alone, 0.95), quantile(shadowed, 0.95)];
  const share = (100 * tookSeconds) / ((TURNS * TURN_MS) / 1000);
  emit({ ...said, metric: 'p95 without a challenger', value: before, unit: 'µs' });
  const limit = `≤ ${Math.round(1.05 * before)} µs (+5%)`;
  emit({
    ...said,
    metric: 'p95 with one',
    value: after,
    unit: 'µs',
    bar: limit,
    holds: after <= 1.05 * before,
  });
  emit({
    ...said,
    metric: 'share of a core',
    value: share,
    unit: '%',
    bar: `≤ ${BUDGET * 100}%`,
    holds: share <= BUDGET * 100,
  });
  emit({ ...said, metric: 'compared', value: compared / 4, unit: '' });
  emit({ ...said, metric: 'skipped for the budget', value: skipped.budget, unit: '' });
  emit({ ...said, metric: 'skipped for the pace', value: skipped.pace, unit: '' });
  emit({ ...said, metric: 'skipped while it ran', value: skipped.busy, unit: '' });
}
