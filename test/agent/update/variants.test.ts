import type { BackendFacts } from '@skein/agent/inference/backend.ts';
import { ANYTHING } from '@skein/agent/inference/backends.ts';
import { measureInTurns } from '@skein/agent/update/measure.ts';
import { type Choice, compareVersions, fastest, misfit, planVariants } from '@skein/agent/update/variants.ts';
import { parseManifest, type Variant } from '@skein/protocol/manifest.ts';
import { describe, expect, it } from 'vitest';
import { manifestFor } from './manifest.ts';

const variant = (id: string, more: Partial<Variant> = {}): Variant => ({
  id,
  precision: 'int8',
  backend: 'onnxruntime',
  file: { sha256: id.padEnd(64, '0').replace(/[^0-9a-f]/g, 'a'), size: 10 },
  tolerance: 0.1,
  accuracy: null,
  ...more,
});
const hailo = (more: Partial<BackendFacts> = {}): BackendFacts => ({
  target: 'hailo8l',
  sdk: '4.20.0',
  fault: null,
  ...more,
});
const HEF = variant('hef', {
  backend: 'hailo',
  format: 'hef',
  target: 'hailo8l',
  sdk: { min: '4.18', max: '4.20.9' },
});
const [INT8, FP32] = [variant('int8'), variant('fp32', { precision: 'fp32' })];
const facts = (of: BackendFacts) =>
  new Map([
    ['onnxruntime', ANYTHING],
    ['hailo', of],
  ]);
const plan = (of: BackendFacts, remembered: Choice | null = null, barred: string[] = [], roomy = true) =>
  planVariants([HEF, INT8, FP32], facts(of), remembered, new Set(barred), roomy);
const ids = ({ candidates }: ReturnType<typeof plan>) => candidates.map((c) => c.variant);

describe('a version', () => {
  it.each([
    ['4.20.0', '4.20', 0],
    ['4.9', '4.10', -1],
    ['10', '9.9.9', 1],
    ['4.20.0-beta', '4.20.0', 0],
  ])('%s against %s is %i', (a, b, order) => {
    expect(compareVersions(a, b)).toBe(order);
    expect(compareVersions(b, a)).toBe(order === 0 ? 0 : -order);
  });
});

describe('a variant fits', () => {
  it.each([
    ['the hardware and version it was made for', {}, null],
    ['no other hardware', { target: 'hailo8' }, 'made for hailo8l, hailo is hailo8'],
    ['no hardware that says nothing', { target: null }, 'does not say what it is'],
    ['no older runtime', { sdk: '4.17.9' }, 'has 4.17.9'],
    ['no newer runtime', { sdk: '4.21' }, 'has 4.21'],
    ['no runtime that says no version', { sdk: null }, 'does not say its version'],
    [
      'nothing that is broken',
      { fault: { code: 'DRIVER_MISMATCH', detail: 'x' } as const },
      'DRIVER_MISMATCH',
    ],
  ])('%s', (_title, change, words) => {
    const why = misfit(HEF, hailo(change));
    if (words === null) expect(why).toBeNull();
    else expect(why).toContain(words);
  });

  it('anything when it asks for nothing', () => {
    expect(misfit(variant('x', { backend: 'triton' }), ANYTHING)).toBeNull();
    expect(misfit(variant('x', { sdk: {} }), ANYTHING)).toBeNull();
  });
});

describe('the plan', () => {
  it('takes all that fit, in the manifest’s order, to be measured', () => {
    expect(ids(plan(hailo()))).toEqual(['hef', 'int8', 'fp32']);
    expect(plan(hailo()).measure).toBe(true);
  });

  it('leaves out what can not run here, says why, and takes the rest', () => {
    const made = plan(hailo({ fault: { code: 'BACKEND_UNAVAILABLE', detail: 'refused' } }));
    expect(ids(made)).toEqual(['int8', 'fp32']);
    expect(made.left).toEqual([{ variant: 'hef', why: 'BACKEND_UNAVAILABLE: refused' }]);
    expect(made.fault).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('does not measure one alone, nor without room', () => {
    expect(planVariants([INT8], facts(hailo()), null, new Set(), true).measure).toBe(false);
    expect(plan(hailo(), null, [], false).measure).toBe(false);
  });

  it('leaves out bytes that did harm here', () => {
    expect(ids(plan(hailo(), null, [INT8.file.sha256]))).toEqual(['hef', 'fp32']);
  });

  it('takes what was measured before, as long as hardware, runtime and variants are the same', () => {
    const remembered = {
      key: plan(hailo()).key,
      variant: 'fp32',
      figures: [{ variant: 'fp32', medianUs: 9 }],
    };
    const again = plan(hailo(), remembered);
    expect([ids(again), again.measure]).toEqual([['fp32', 'hef', 'int8'], false]);
    expect(again.why).toContain('fp32 9 µs');
    for (const change of [{ sdk: '4.20.1' }, { fault: { code: 'BACKEND_BUSY', detail: '' } as const }])
      expect(plan(hailo(change), remembered).measure).toBe(true);
  });
});

describe('the fastest', () => {
  it('wins, but the preferred one when it is as close as noise', () => {
    const of = (a: number, b: number) => [
      { variant: 'a', medianUs: a },
      { variant: 'b', medianUs: b },
    ];
    expect(fastest(['a', 'b'], of(100, 50))).toBe('b');
    expect(fastest(['a', 'b'], of(50, 100))).toBe('a');
    expect(fastest(['a', 'b'], of(101, 100))).toBe('a');
    expect(fastest(['a', 'b'], [])).toBe('a');
  });
});

describe('measuring in turns', () => {
  const clock = () => {
    let now = 0;
    const spend = (ms: number): void => {
      now += ms;
    };
    return { now: () => now, spend };
  };

  it('gives the median of each, whatever disturbs single runs', async () => {
    const { now, spend } = clock();
    let n = 0;
    const runners = [
      { variant: 'slow', run: async () => spend(++n % 10 === 0 ? 500 : 4) },
      { variant: 'fast', run: async () => spend(1) },
    ];
    expect(await measureInTurns(runners, now, 2_000)).toEqual([
      { variant: 'slow', medianUs: 4_000 },
      { variant: 'fast', medianUs: 1_000 },
    ]);
  });

  it('ends in time, after a least number of rounds', async () => {
    const { now, spend } = clock();
    let runs = 0;
    const run = async () => {
      runs++;
      spend(900);
    };
    await measureInTurns([{ variant: 'a', run }], now, 1);
    expect(runs).toBe(3 + 5);
    runs = 0;
    await measureInTurns([{ variant: 'a', run: async () => void runs++ }], now, 1_000);
    expect(runs).toBe(3 + 300);
  });
});

describe('a manifest', () => {
  const blob = { sha256: 'a'.repeat(64), size: 1 };
  it('may name backend, format, target and SDK of a variant, and need not', () => {
    const manifest = manifestFor('1.0.0', blob, blob);
    expect(parseManifest.check({ ...manifest, variants: [HEF] }, 'm').variants[0]).toEqual(HEF);
    expect(() =>
      parseManifest.check({ ...manifest, variants: [{ ...HEF, sdk: { min: 'v4' } }] }, 'm'),
    ).toThrow('sdk');
  });
});
