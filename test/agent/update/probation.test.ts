import { judgeEveryMs, judgeProbation, yardstickOf } from '@skein/agent/update/probation.ts';
import { MIB } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';

const policy = {
  minInferences: 20,
  minMs: 10_000,
  deadlineMs: 60_000,
  maxErrorRate: 0.1,
  maxLatencyRatio: 2,
};
const stats = (
  inferences: number,
  errors = 0,
  notFinite = 0,
  p95LatencyUs = 100,
  p95AtLeastUs = p95LatencyUs,
) => ({ inferences, errors, notFinite, p95LatencyUs, p95AtLeastUs });

const NOTHING_KNOWN = { previousP95Us: null };

describe('probation', () => {
  // biome-ignore format: the table is read by its columns
  it.each([
    ['too early',                          stats(50),           9_999,  null, 'continue'],
    ['too few inferences',                 stats(19),           20_000, null, 'continue'],
    ['enough of both commits',             stats(20),           10_000, null, 'commit'],
    ['too few at the deadline stays',      stats(19),           60_000, null, 'unproven'],
    ['errors do not count as proof',       stats(21, 2),        20_000, null, 'continue'],
    ['errors within the limit commit',     stats(22, 2),        20_000, null, 'commit'],
    ['one NaN is enough',                  stats(50, 0, 1),     0,      null, 'MODEL_OUTPUT_NOT_FINITE'],
    ['NaN at the deadline reverts',        stats(1, 0, 1),      60_000, null, 'MODEL_OUTPUT_NOT_FINITE'],
    ['a first error may be bad luck',      stats(1, 1),         0,      null, 'continue'],
    ['errors that can not be made good',   stats(3, 3),         0,      null, 'PROBATION_ERRORS'],
    ['too many errors among many',         stats(200, 30),      20_000, null, 'PROBATION_ERRORS'],
    ['as slow as allowed commits',         stats(20, 0, 0, 20_000), 10_000, 10_000, 'commit'],
    ['slower reverts',                     stats(20, 0, 0, 20_001), 10_000, 10_000, 'PROBATION_SLOW'],
    ['slow is not judged on few',          stats(5, 0, 0, 90_000), 10_000, 10_000,  'continue'],
    ['what a busy scheduler does commits', stats(20, 0, 0, 5_000), 10_000, 100, 'commit'],
    ['slow by chance goes on',             stats(20, 0, 0, 90_000, 9_000), 20_000, 10_000, 'continue'],
    ['slow by chance stays at the end',    stats(20, 0, 0, 90_000, 9_000), 60_000, 10_000, 'unproven'],
    ['surely slow reverts at the end too', stats(20, 0, 0, 90_000, 30_000), 60_000, 10_000, 'PROBATION_SLOW'],
    ['more than that reverts',             stats(20, 0, 0, 5_001), 10_000, 100, 'PROBATION_SLOW'],
  ] as const)('%s', (_, given, elapsedMs, previousUs, expected) => {
    const judgement = judgeProbation(policy, given, elapsedMs, { previousP95Us: previousUs });
    expect(judgement.verdict === 'revert' ? judgement.code : judgement.verdict).toBe(expected);
  });

  it('with no errors allowed reverts at the first', () => {
    expect(
      judgeProbation({ ...policy, maxErrorRate: 0 }, stats(1000, 1), 20_000, NOTHING_KNOWN).verdict,
    ).toBe('revert');
  });

  // biome-ignore format: the table is read by its columns
  it.each([
    ['calm by both profiles commits',            'calm',    'calm',    'commit'],
    ['drift that the former calls calm reverts', 'drift',   'calm',    'PROBATION_DRIFT'],
    ['drift by both profiles is no harm',        'drift',   'drift',   'commit'],
    ['drift with nothing beside it is no harm',  'drift',   undefined, 'commit'],
    ['no full window says nothing',              undefined, 'calm',    'commit'],
  ] as const)('%s', (_, drift, formerDrift, expected) => {
    const given = { ...stats(20), drift, formerDrift };
    const judgement = judgeProbation(policy, given, 10_000, { previousP95Us: null });
    expect(judgement.verdict === 'revert' ? judgement.code : judgement.verdict).toBe(expected);
  });

  it('reverts at once what takes more memory than it may, and what only the process takes is no harm', () => {
    const before = { ...stats(50), residentBytes: 100 * MIB };
    const yardstick = yardstickOf(before, NOTHING_KNOWN, 10 * MIB);
    const ask = (mib: number) =>
      judgeProbation(policy, { ...stats(1), residentBytes: mib * MIB }, 0, yardstick);
    expect(ask(100 + 10 + 128).verdict).toBe('continue');
    expect(ask(100 + 10 + 129)).toEqual({
      verdict: 'revert',
      code: 'PROBATION_MEMORY',
      detail: '239 MiB resident, 238 MiB allowed',
    });
  });

  it('takes its yardstick from the model before, or from what was known before a restart', () => {
    const known = { previousP95Us: 700, memoryLimitBytes: 1 };
    expect(yardstickOf(stats(0), known, 5)).toEqual({ ...known, memoryLimitBytes: undefined });
    expect(yardstickOf(stats(5, 0, 0, 900), known, 5)).toMatchObject({ previousP95Us: 900 });
    expect(yardstickOf(stats(4, 0, 0, 900), NOTHING_KNOWN, 5).previousP95Us).toBeNull();
  });

  it('is looked at often enough for short ones and seldom for long ones', () => {
    expect(judgeEveryMs({ ...policy, minMs: 0 })).toBe(200);
    expect(judgeEveryMs({ ...policy, minMs: 4_000 })).toBe(1_000);
    expect(judgeEveryMs({ ...policy, minMs: 3_600_000 })).toBe(1_000);
  });
});
