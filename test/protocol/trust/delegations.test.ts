import { matchesPattern } from '@skein/protocol/trust/delegations.ts';
import { describe, expect, it } from 'vitest';

describe('delegated paths', () => {
  it.each([
    ['targets/*.tgz', 'targets/foo.tgz', true],
    ['targets/*.tgz', 'targets/foo.txt', false],
    ['foo-version-?.tgz', 'foo-version-2.tgz', true],
    ['foo-version-?.tgz', 'foo-version-alpha.tgz', false],
    ['*.tgz', 'foo.tgz', true],
    ['*.tgz', 'targets/foo.tgz', false],
    ['foo.tgz', 'foo.tgz', true],
    ['foo.tgz', 'FOO.tgz', false],
    ['*', '', true],
    ['', '', true],
    ['?', '', false],
    ['a*b*c', 'aXbXbXc', true],
    ['a*b*c', 'aXbXbX', false],
    ['**', 'abc', true],
    ['*/*', 'a/b', true],
    ['*', 'a/b', false],
    ['[ab]', 'a', false],
    ['[ab]', '[ab]', true],
    ['a.c', 'abc', false],
  ])('pattern %j on path %j: %s', (pattern, path, expected) => {
    expect(matchesPattern(pattern, path)).toBe(expected);
  });

  it('takes time that grows gently with a hostile pattern', () => {
    const start = performance.now();
    expect(matchesPattern(`${'*a'.repeat(500)}b`, 'a'.repeat(1000))).toBe(false);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});
