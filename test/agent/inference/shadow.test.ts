import type { Tensors } from '@skein/agent/inference/backend.ts';
import { CpuBudget } from '@skein/agent/inference/cpu-budget.ts';
import { type Challenger, Shadow, shadowMetrics } from '@skein/agent/inference/shadow.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { HealthRecord } from '@skein/protocol/records.ts';
import { Check } from 'typebox/value';
import { describe, expect, it } from 'vitest';
import { type ManualClock, manualClock } from '../manual-clock.ts';

const manifest = (version: string, features = ['a', 'b']): Manifest => ({
  format: 1,
  name: 'm',
  version,
  description: '',
  licence: 'Apache-2.0',
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 2] }],
  outputs: [{ name: 'y', type: 'float32', shape: [-1, 2] }],
  preprocess: {
    kind: 'features',
    features,
    window: { size: 1, stride: 1, padding: 'none' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'classify', output: 'y', labels: ['low', 'high'], softmax: false, alarmLabels: [] },
  variants: [],
  golden: { sha256: 'a'.repeat(64), size: 1 },
  drift: null,
  needs: { memoryBytes: 0, tags: [] },
  quantization: null,
  lineage: { trainedFrom: [] },
});
const scores = (...values: number[]): Tensors => ({
  y: { type: 'float32', dims: [values.length / 2, 2], data: Float32Array.from(values) },
});
const inputs = (rows = 1): Tensors => ({
  x: { type: 'float32', dims: [rows, 2], data: new Float32Array(rows * 2) },
});
const PRIMARY = { manifest: manifest('1.0.0') };
const settled = () => new Promise((resolve) => setImmediate(resolve));

function setup(cpuBudget = 1, clock: ManualClock = manualClock()) {
  const shadow = new Shadow({ model: 'm', challenger: 'c', cpuBudget }, clock);
  const challenger = (answer: Tensors | Error, tookMs = 0, version = '2.0.0'): Challenger => ({
    manifest: challengers.get(version) ?? manifest(version),
    threads: 1,
    async run() {
      await clock.advance(tookMs);
      if (answer instanceof Error) throw answer;
      return { outputs: answer, inferUs: 70 };
    },
  });
  const challengers = new Map([['2.0.0', manifest('2.0.0')]]);
  return { shadow, challenger, clock };
}

describe('a challenger in the shadow', () => {
  it('is compared by label and score, row by row', async () => {
    const { shadow, challenger } = setup();
    const given = { outputs: scores(0.9, 0.1, 0.25, 0.75), inferUs: 40 };
    shadow.observe(PRIMARY, inputs(2), given, challenger(scores(0.75, 0.25, 0.5, 0.25)));
    await settled();
    const status = shadow.snapshot();
    expect(status).toMatchObject({ version: '1.0.0', challengerVersion: '2.0.0', compared: 2, agreed: 1 });
    expect(status.meanScoreDifference).toBeCloseTo((0.15 + 0.25) / 2, 5);
    expect(status.maxScoreDifference).toBeCloseTo(0.25, 5);
    expect(status.challengerP95Us).toBeGreaterThanOrEqual(70);
    expect(status.p95Us).toBeLessThan(70);
  });

  it('spends no more than its share of a core and counts what it skips', async () => {
    const { shadow, challenger, clock } = setup(0.2);
    const given = { outputs: scores(1, 0), inferUs: 40 };
    for (let i = 0; i < 1_000; i++) {
      shadow.observe(PRIMARY, inputs(), given, challenger(scores(1, 0), 900));
      await settled();
      await clock.advance(1_200);
    }
    const { compared, skipped } = shadow.snapshot();
    const elapsed = clock.mono();
    expect((compared * 900) / elapsed).toBeLessThanOrEqual(0.2 + 1_100 / elapsed);
    expect((compared * 900) / elapsed).toBeGreaterThan(0.18);
    expect(compared + skipped.budget).toBe(1_000);
  });

  it('touches at most one in a hundred of readings that come fast', async () => {
    const { shadow, challenger, clock } = setup();
    for (let i = 0; i < 5_000; i++) {
      shadow.observe(PRIMARY, inputs(), { outputs: scores(1, 0), inferUs: 40 }, challenger(scores(1, 0), 3));
      await settled();
      await clock.advance(5);
    }
    const { compared, skipped } = shadow.snapshot();
    expect(compared).toBe(50);
    expect(skipped.pace).toBe(4_950);
  });

  it('is not waited for: while it runs, others are skipped', async () => {
    const { shadow, challenger } = setup();
    let finish: () => void = () => undefined;
    const slow: Challenger = {
      ...challenger(scores(1, 0)),
      run: () => new Promise((resolve) => (finish = () => resolve({ outputs: scores(1, 0), inferUs: 1 }))),
    };
    for (let i = 0; i < 4; i++)
      shadow.observe(PRIMARY, inputs(), { outputs: scores(1, 0), inferUs: 1 }, slow);
    finish();
    await settled();
    expect(shadow.snapshot()).toMatchObject({ compared: 1, skipped: { busy: 3 } });
  });

  it('sees inputs of its own, whatever their owner does with them afterwards', async () => {
    const { shadow, challenger } = setup();
    const mine = inputs();
    let seen: unknown;
    const looking: Challenger = {
      ...challenger(scores(1, 0)),
      run: async ({ x }) => {
        await settled();
        seen = [...(x!.data as Float32Array)];
        return { outputs: scores(1, 0), inferUs: 1 };
      },
    };
    shadow.observe(PRIMARY, mine, { outputs: scores(1, 0), inferUs: 1 }, looking);
    (mine.x!.data as Float32Array).fill(9);
    await settled();
    await settled();
    expect(seen).toEqual([0, 0]);
  });

  it('is skipped while it is absent, fails, or makes its inputs in another way', async () => {
    const { shadow, challenger } = setup();
    const given = { outputs: scores(1, 0), inferUs: 1 };
    shadow.observe(PRIMARY, inputs(), given, undefined);
    shadow.observe(PRIMARY, inputs(), given, challenger(new Error('it broke')));
    await settled();
    const other = { ...challenger(scores(1, 0)), manifest: manifest('3.0.0', ['b', 'a']) };
    shadow.observe(PRIMARY, inputs(), given, other);
    await settled();
    expect(shadow.snapshot()).toMatchObject({
      compared: 0,
      skipped: { absent: 1, failed: 1, unlike: 1, busy: 0, budget: 0 },
    });
  });

  it('starts counting anew when either is activated anew', async () => {
    const { shadow, challenger, clock } = setup();
    const given = { outputs: scores(1, 0), inferUs: 1 };
    shadow.observe(PRIMARY, inputs(), given, challenger(scores(1, 0)));
    await settled();
    await clock.advance(2_000);
    shadow.observe({ manifest: manifest('1.1.0') }, inputs(), given, challenger(scores(0, 1)));
    await settled();
    expect(shadow.snapshot()).toMatchObject({ version: '1.1.0', compared: 1, agreed: 0 });
  });

  it('travels as health metrics that the protocol takes, however long its name', async () => {
    const { shadow, challenger } = setup();
    shadow.observe(PRIMARY, inputs(), { outputs: scores(1, 0), inferUs: 1 }, challenger(scores(1, 0)));
    await settled();
    const metrics = shadowMetrics([{ ...shadow.snapshot(), challenger: 'c'.repeat(63) }]);
    expect(metrics[`shadow_agreement.${'c'.repeat(40)}`]).toBe(1);
    expect(Check(HealthRecord, { ts: 1, mono: 1, boot: 'b', metrics })).toBe(true);
  });
});

describe('a share of a core', () => {
  it('earns at most a second ahead and pays its debts first', async () => {
    const clock = manualClock();
    const budget = new CpuBudget(0.1, clock);
    await clock.advance(3_600_000);
    expect(budget.available).toBe(true);
    budget.spend(100);
    expect(budget.available).toBe(false);
    await clock.advance(10);
    expect(budget.available).toBe(true);
    budget.spend(501);
    await clock.advance(4_900);
    expect(budget.available).toBe(false);
    await clock.advance(200);
    expect(budget.available).toBe(true);
  });
});
