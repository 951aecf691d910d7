import { DriftObserver } from '@skein/agent/drift/observe.ts';
import { blockLength, seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { addValue, binOf, emptyCounts, mergeCounts } from '@skein/protocol/drift/counts.ts';
import {
  differences,
  makeChart,
  makeProfile,
  profileHash,
  quantileEdges,
} from '@skein/protocol/drift/profile.ts';
import { binScores, pearsonGroups } from '@skein/protocol/drift/scores.ts';
import { eValue, START, stepSequential } from '@skein/protocol/drift/sequential.ts';
import { normalQuantile } from '@skein/protocol/drift/special-functions.ts';
import { effectSizes, prepareChart, testChart } from '@skein/protocol/drift/statistics.ts';
import { summariseDrift } from '@skein/protocol/drift/summary.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';

const SEED = 20261123;
const normal = (uniform: () => number) => normalQuantile(Math.min(1 - 1e-12, Math.max(1e-12, uniform())));

/** Autoregressive of order one: what a real sensor looks like. */
function sensor(n: number, phi: number, seed: number, shift = 0): Float64Array {
  const uniform = seededUniform(seed);
  let x = 0;
  return Float64Array.from({ length: n }, () => {
    x = phi * x + Math.sqrt(1 - phi * phi) * normal(uniform);
    return x + shift;
  });
}

describe('counts', () => {
  const edges = [0, 1, 5];

  it('puts a value that equals an edge below it, and everything else where it belongs', () => {
    expect([-9, 0, 0.5, 1, 3, 5, 6].map((value) => binOf(edges, value))).toEqual([0, 0, 1, 1, 2, 2, 3]);
  });

  it('merge to the bits of pooled counts in any order and grouping', () => {
    const uniform = seededUniform(SEED);
    const values = Array.from({ length: 5000 }, () => (uniform() < 0.05 ? Number.NaN : uniform() * 8 - 1));
    const pooled = emptyCounts('a', 4);
    for (const value of values) addValue(pooled, edges, [0, 5], value);
    const parts = Array.from({ length: 17 }, () => emptyCounts('a', 4));
    for (const value of values) addValue(parts[Math.floor(uniform() * 17)]!, edges, [0, 5], value);
    const forward = parts.reduce(mergeCounts);
    const backward = parts.toReversed().reduce(mergeCounts);
    const paired = mergeCounts(parts.slice(0, 8).reduce(mergeCounts), parts.slice(8).reduce(mergeCounts));
    expect(forward).toEqual(pooled);
    expect(backward).toEqual(pooled);
    expect(paired).toEqual(pooled);
    expect(pooled.missing).toBe(values.filter(Number.isNaN).length);
    expect(pooled.outside).toBe(values.filter((v) => v < 0 || v > 5).length);
  });
});

describe('a reference profile', () => {
  it('has at most 32 bins, of about equal weight when values are distinct', () => {
    const chart = makeChart({ name: 'a', values: sensor(5000, 0, SEED) }, 100, 1);
    expect(chart.edges).toHaveLength(31);
    for (const p of chart.probabilities) expect(p).toBeCloseTo(1 / 32, 2);
  });

  it('gives a tie-heavy feature fewer bins and a constant one a single edge', () => {
    expect(quantileEdges(Float64Array.from({ length: 100 }, (_, i) => Math.floor(i / 40)))).toEqual([0, 1]);
    expect(quantileEdges(new Float64Array(100).fill(7))).toEqual([7]);
  });

  it('is the same for the same data and seed, and its hash tells profiles apart', () => {
    const make = (seed: number, phi = 0.5) =>
      makeProfile([{ name: 'a', values: sensor(1000, phi, SEED) }], {
        window: 50,
        windowsPerMonth: 10,
        seed,
      });
    expect(make(1)).toEqual(make(1));
    expect(profileHash(make(1))).toBe(profileHash(make(1)));
    expect(profileHash(make(1))).not.toBe(profileHash(make(1, 0.6)));
  });

  it('widens its threshold with the dependence of the feature', () => {
    const independent = makeChart({ name: 'a', values: sensor(20_000, 0, SEED) }, 200, 1);
    const dependent = makeChart({ name: 'a', values: sensor(20_000, 0.95, SEED) }, 200, 1);
    // Independent: σ of a mean of 200 standardised scores.
    expect(independent.sigmaLocation).toBeCloseTo(1 / Math.sqrt(200), 2);
    // AR(1): the variance of the mean grows by (1 + φ) / (1 − φ) = 39, σ by 6.2; less, the window being short.
    const ratio = dependent.sigmaLocation / independent.sigmaLocation;
    expect(ratio).toBeGreaterThan(4);
    expect(ratio).toBeLessThan(7);
    expect(dependent.degreesOfFreedom).toBeLessThan(independent.degreesOfFreedom);
  });

  it('counts missing values and never bins them', () => {
    const values = sensor(1000, 0, SEED).map((value, i) => (i % 10 === 0 ? Number.NaN : value));
    const chart = makeChart({ name: 'a', values }, 50, 1);
    expect(chart.missingRate).toBeCloseTo(0.1, 9);
    expect(chart.probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);
  });

  it('chooses longer blocks for slower sensors', () => {
    const lengths = [0, 0.5, 0.9].map((phi) => blockLength(sensor(10_000, phi, SEED)));
    expect(lengths[0]!).toBeLessThan(lengths[1]!);
    expect(lengths[1]!).toBeLessThan(lengths[2]!);
    // Four times the correlation length (1 + φ) / (1 − φ) of AR(1).
    expect(lengths[2]!).toBeGreaterThan(60);
  });

  it('takes first differences with none for the first value', () => {
    expect([...differences([1, 4, 2])]).toEqual([Number.NaN, 3, -2]);
  });
});

describe('scores', () => {
  it('have mean 0, variance 1 and are orthogonal under the reference', () => {
    const p = new Array<number>(32).fill(1 / 32);
    const { location, scale } = binScores(p);
    const mean = (x: number[], y = x.map(() => 1)) => p.reduce((sum, w, k) => sum + w * x[k]! * y[k]!, 0);
    expect(mean(location)).toBeCloseTo(0, 12);
    expect(mean(location, location)).toBeCloseTo(1, 12);
    expect(mean(scale)).toBeCloseTo(0, 3);
    expect(mean(location, scale)).toBeCloseTo(0, 12);
  });

  it('of a single bin are zero', () => {
    expect(binScores([1]).location).toEqual([0]);
  });

  it('of bins that a window can not fill are pooled for X²', () => {
    expect(pearsonGroups([0.5, 0.001, 0.499], 100)).toEqual([0, 2]);
    expect(pearsonGroups([0.999, 0.001], 100)).toEqual([1]);
  });
});

describe('the window tests', () => {
  const window = 200;
  const profileOf = (phi: number) =>
    makeProfile([{ name: 'a', values: sensor(20_000, phi, SEED) }], {
      window,
      windowsPerMonth: 720,
      seed: 1,
    });
  const countsOf = (profile: ReturnType<typeof profileOf>, values: Float64Array) => {
    const chart = profile.charts[0]!;
    const counts = emptyCounts('a', chart.probabilities.length);
    for (const value of values) addValue(counts, chart.edges, null, value);
    return counts.counts;
  };

  it.each([0, 0.9])('keep their level on undisturbed sensors with autocorrelation %d', (phi) => {
    const profile = profileOf(phi);
    const long = sensor(window * 1500, phi, SEED + 7);
    const windows = Array.from({ length: 300 }, (_, i) => long.slice(i * 5 * window, (i * 5 + 1) * window));
    const tests = windows.map((values) =>
      testChart(prepareChart(profile, profile.charts[0]!), countsOf(profile, values)),
    );
    for (const key of ['pLocation', 'pScale', 'pOmnibus'] as const) {
      const share = tests.filter((test) => test[key] < 0.05).length / tests.length;
      expect(share, key).toBeLessThan(0.1);
      expect(share, key).toBeGreaterThan(0.005);
    }
  });

  it('find a shift of the size that they say they can, and say more for slower sensors', () => {
    const [fast, slow] = [profileOf(0), profileOf(0.9)].map((profile, i) => {
      const at = (shift: number) => sensor(window, i === 0 ? 0 : 0.9, SEED + 3, shift);
      const test = testChart(prepareChart(profile, profile.charts[0]!), countsOf(profile, at(0)));
      const shifted = testChart(
        prepareChart(profile, profile.charts[0]!),
        countsOf(profile, at(2 * test.minimumDetectableShift!)),
      );
      expect(shifted.pLocation).toBeLessThan(0.05);
      return test.minimumDetectableShift!;
    });
    expect(fast).toBeGreaterThan(0.1);
    expect(slow).toBeGreaterThan(2 * fast!);
  });

  it('see a change of scale that leaves the mean alone', () => {
    const profile = profileOf(0);
    const wide = sensor(window, 0, SEED + 5).map((value) => 2 * value);
    const test = testChart(prepareChart(profile, profile.charts[0]!), countsOf(profile, wide));
    expect(test.pScale).toBeLessThan(1e-6);
    expect(test.pLocation).toBeGreaterThan(1e-3);
  });

  it('do not raise an alarm over one odd value of a feature that was constant', () => {
    const profile = makeProfile([{ name: 'a', values: new Float64Array(7000) }], {
      window,
      windowsPerMonth: 720,
      seed: 1,
    });
    const values = new Float64Array(window);
    values[3] = 1;
    const test = testChart(prepareChart(profile, profile.charts[0]!), countsOf(profile, values));
    expect(Math.min(test.pLocation, test.pScale, test.pOmnibus)).toBeGreaterThan(0.05);
    const gone = testChart(
      prepareChart(profile, profile.charts[0]!),
      countsOf(profile, new Float64Array(window).fill(1)),
    );
    expect(gone.pLocation).toBeLessThan(1e-6);
  });

  it('of an empty window say nothing', () => {
    const profile = profileOf(0);
    const test = testChart(prepareChart(profile, profile.charts[0]!), new Array(32).fill(0));
    expect(test).toMatchObject({ n: 0, zLocation: 0, pLocation: 1 });
    expect(effectSizes(profile.charts[0]!.probabilities, new Array(32).fill(0)).psi).toBeCloseTo(0, 3);
  });
});

describe('the sequential alarm', () => {
  it('calibrates p to an e-value: mean at most 1 over a uniform p', () => {
    const n = 200_000;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += eValue((i + 0.5) / n);
    expect(sum / n).toBeLessThanOrEqual(1.0001);
    expect(eValue(1)).toBeCloseTo(0.5, 6);
    expect(eValue(1 - 1e-5)).toBeCloseTo(eValue(1 - 1e-3), 3);
    expect(eValue(0)).toBeGreaterThan(1e200);
  });

  it('runs at least A windows on average before a false alarm', () => {
    const A = 100;
    const uniform = seededUniform(SEED);
    let total = 0;
    const runs = 200;
    for (let run = 0; run < runs; run++) {
      let state = START;
      while (!state.alarm) {
        state = stepSequential(state, eValue(uniform()), A);
        total++;
      }
    }
    expect(total / runs).toBeGreaterThan(A);
  });

  it('clears after three calm windows in a row, not before', () => {
    let state = stepSequential(START, 1000, 100);
    expect(state.alarm).toBe(true);
    state = stepSequential(stepSequential(state, 0.6, 100), 0.6, 100);
    expect(state.alarm).toBe(true);
    state = stepSequential(state, 2, 100);
    for (let i = 0; i < 2; i++) state = stepSequential(state, 0.6, 100);
    expect(state.alarm).toBe(true);
    expect(stepSequential(state, 0.6, 100)).toEqual(START);
  });
});

describe('on the device and at the server', () => {
  const reference = sensor(10_000, 0.3, SEED);
  const profile = makeProfile(
    [
      { name: 'a', values: reference },
      { name: 'a:diff', values: differences(reference) },
      { name: 'output:score', values: reference.map((v) => v * v) },
    ],
    { window: 100, windowsPerMonth: 100, seed: 1 },
  );

  function observe(values: Float64Array, boot = 'b'): DriftRecord[] {
    const observer = new DriftObserver(profile, ['a']);
    const records: DriftRecord[] = [];
    values.forEach((value, i) => {
      const full = observer.input(Float64Array.of(value));
      observer.output({ 'output:score': value * value });
      if (full) records.push(observer.close({ ts: i, mono: i, boot, model: 'm', version: '1.0.0' }));
    });
    return records;
  }

  it('an undisturbed sensor stays calm', () => {
    const verdicts = observe(sensor(3000, 0.3, SEED + 9)).map(({ verdict }) => verdict);
    expect(verdicts).toHaveLength(30);
    expect(new Set(verdicts)).toEqual(new Set(['calm']));
  });

  it('a shift of one σ is found within three windows and ends with it', () => {
    const moved = Float64Array.from([
      ...sensor(500, 0.3, SEED + 9),
      ...sensor(500, 0.3, SEED + 10, 1),
      ...sensor(1000, 0.3, SEED + 11),
    ]);
    const verdicts = observe(moved).map(({ verdict }) => verdict);
    expect(verdicts.slice(0, 5)).toEqual(new Array(5).fill('calm'));
    expect(verdicts.slice(5, 8)).toContain('drift');
    expect(verdicts.at(-1)).toBe('calm');
  });

  it('merged windows attribute the drift to the features that moved', () => {
    const summary = summariseDrift(profile, observe(sensor(1000, 0.3, SEED + 10, 1)));
    expect(summary).toMatchObject({ windows: 10, from: 99, to: 999, verdict: 'drift' });
    const byName = Object.fromEntries(summary.features.map((feature) => [feature.name, feature]));
    expect(byName.a!.verdict).toBe('drift');
    expect(byName.a!.zLocation).toBeGreaterThan(5);
    expect(byName['a:diff']!.verdict).toBe('calm');
    expect(byName.a!.observed.reduce((x, y) => x + y, 0)).toBeCloseTo(1, 9);
    expect(byName.a!.n).toBe(1000);
    expect(byName['a:diff']!.n).toBe(999);
  });

  it('windows of another profile are left out, and nothing gives no verdict', () => {
    const records = observe(sensor(1000, 0.3, SEED + 9)).map((r) => ({ ...r, profile: 'f'.repeat(64) }));
    expect(summariseDrift(profile, records)).toMatchObject({
      windows: 0,
      from: null,
      to: null,
      verdict: 'not-enough-data',
    });
  });

  it("a device's newest window decides, whatever an earlier start of it said", () => {
    const old = observe(sensor(300, 0.3, SEED + 10, 2), 'b1').map((r) => ({ ...r, device: 'd' }));
    const calm = observe(sensor(300, 0.3, SEED + 9), 'b2').map((r) => ({
      ...r,
      device: 'd',
      ts: r.ts + 1e6,
    }));
    expect(summariseDrift(profile, old).verdict).toBe('drift');
    expect(summariseDrift(profile, [...old, ...calm]).verdict).toBe('calm');
  });
});
