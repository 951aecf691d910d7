import { Verdicts } from '@skein/agent/drift/verdicts.ts';
import { expect, it } from 'vitest';

it('the latest verdict of a model is that of the version that runs, and a window cut short changes nothing', () => {
  const verdicts = new Verdicts();
  const hear = (version: string, verdict: 'calm' | 'drift' | 'not-enough-data') =>
    verdicts.heard({ model: 'gas', version, verdict });
  expect(verdicts.of('gas', '1.0.0')).toBeUndefined();
  hear('1.0.0', 'drift');
  hear('1.0.0', 'not-enough-data');
  expect(verdicts.of('gas', '1.0.0')).toBe('drift');
  hear('1.0.0', 'calm');
  expect(verdicts.of('gas', '1.0.0')).toBe('calm');
  expect(verdicts.of('gas', '1.1.0')).toBeUndefined();
  expect(verdicts.of('gas', undefined)).toBeUndefined();
  hear('1.1.0', 'drift');
  expect([verdicts.of('gas', '1.0.0'), verdicts.of('gas', '1.1.0')]).toEqual([undefined, 'drift']);
});
