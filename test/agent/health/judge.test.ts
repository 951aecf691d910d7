import { describe, expect, it } from 'vitest';
import { type JudgeState, judge, rulesFor } from '../../../agent/src/health/judge.ts';

const rules = rulesFor({ temperatureC: 85, memoryShare: 0.05, diskShare: 0.05, loadPerCpu: 4 });

/** Feeds (seconds, value) pairs of one metric; returns what changed as `12 TEMPERATURE_HIGH on`. */
function watch(metric: string, samples: [number, number][]): string[] {
  let state: JudgeState = {};
  return samples.flatMap(([seconds, value]) => {
    const step = judge(rules, state, { [metric]: value }, seconds * 1000);
    state = step.state;
    return step.changed.map((v) => `${seconds} ${v.code} ${v.raised ? 'on' : 'off'}`);
  });
}

describe('judging samples', () => {
  it('raises only after the metric has been beyond its limit without a break', () => {
    expect(
      watch('temp_c', [
        [0, 86],
        [5, 86],
        [9, 80],
        [10, 86],
        [19, 90],
        [20, 90],
      ]),
    ).toEqual(['20 TEMPERATURE_HIGH on']);
  });

  it('clears only inside the easier limit, so a value that hovers at the limit raises once', () => {
    const hovering: [number, number][] = Array.from({ length: 100 }, (_, i) => [i * 5, i % 2 ? 84 : 86]);
    expect(
      watch('temp_c', [[0, 86], [10, 86], ...hovering.map(([t, v]): [number, number] => [t + 15, v])]),
    ).toEqual(['10 TEMPERATURE_HIGH on']);
    expect(
      watch('temp_c', [
        [0, 90],
        [10, 90],
        [20, 79],
        [40, 79],
        [50, 79],
      ]),
    ).toEqual(['10 TEMPERATURE_HIGH on', '50 TEMPERATURE_HIGH off']);
  });

  it('raises a full disk at once, and low memory and load after their time', () => {
    expect(watch('disk_free', [[0, 0.04]])).toEqual(['0 DISK_LOW on']);
    expect(
      watch('mem_available', [
        [0, 0.04],
        [10, 0.04],
      ]),
    ).toEqual(['10 MEMORY_LOW on']);
    expect(
      watch('load_per_cpu', [
        [0, 5],
        [30, 5],
        [60, 5],
      ]),
    ).toEqual(['60 LOAD_HIGH on']);
    expect(
      watch('undervoltage', [
        [0, 1],
        [10, 0],
        [70, 0],
      ]),
    ).toEqual(['0 POWER_LOW on', '70 POWER_LOW off']);
  });

  it('changes nothing on a sample without the metric or with one that is not a number', () => {
    const raised = judge(rules, {}, { disk_free: 0.01 }, 0).state;
    expect(judge(rules, raised, {}, 100_000)).toEqual({ state: raised, changed: [] });
    expect(judge(rules, raised, { disk_free: Number.NaN }, 100_000).changed).toEqual([]);
  });
});
