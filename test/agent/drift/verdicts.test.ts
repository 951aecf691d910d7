import { Verdicts } from '@skein/agent/drift/verdicts.ts';
import { expect, it } from 'vitest';

it('the latest verdict of a model is that of the version that runs, and a window cut short changes nothing', () => {
  const verdicts = new Verdicts();
  const hear = (version: string, verdict: 'calm' | 'drift' | 'not-enough-data', former?: 'calm' | 'drift') =>
    verdicts.heard({ model: 'gas', version, verdict }, former);
  const said = (version: string | undefined) => Object.values(verdicts.of('gas', version));
  expect(said('1.0.0')).toEqual([undefined, undefined]);
  hear('1.0.0', 'drift');
  hear('1.0.0', 'not-enough-data');
  expect(said('1.0.0')).toEqual(['drift', undefined]);
  hear('1.0.0', 'calm');
  expect(said('1.0.0')).toEqual(['calm', undefined]);
  expect(said('1.1.0')).toEqual([undefined, undefined]);
  expect(said(undefined)).toEqual([undefined, undefined]);
  hear('1.1.0', 'drift', 'calm');
  expect([said('1.0.0'), said('1.1.0')]).toEqual([
    [undefined, undefined],
    ['drift', 'calm'],
  ]);
  hear('1.1.0', 'drift', 'drift');
  expect(said('1.1.0')).toEqual(['drift', 'drift']);
});
