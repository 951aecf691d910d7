import { beginningOf, isWithin, MAX_NESTING, parseJson } from '@skein/protocol/json-text.ts';
import { checker, strict } from '@skein/protocol/schema.ts';
import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';

describe('JSON that means one thing', () => {
  it.each([
    '{}',
    '[]',
    '"a:b"',
    '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
    '{"a\\"b:":1,"c\\\\":{"d":":"}}',
    '{"__proto__":{"a":1},"a":2}',
    ' { "a" : [ 1 , { "b" : null } ] } ',
    '{"\\\\\\"":"{\\"a\\":1,\\"a\\":2}"}',
  ])('%s is read as ever', (text) => {
    expect(parseJson(text)).toEqual(JSON.parse(text));
  });

  it.each([
    '{"a":1,"a":1}',
    '{"a":1,"b":2,"\\u0061":1}',
    '[{"x":{"a":1,"b":{},"a":[]}}]',
    '{"__proto__":1,"__proto__":2}',
    '{"":0,"":0}',
  ])('%s names a member twice and is refused', (text) => {
    expect(() => parseJson(text)).toThrow(/stands twice/);
  });

  it('is nested so deep and no deeper, whether it closes or not', () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    parseJson(nested(MAX_NESTING));
    expect(() => parseJson(nested(MAX_NESTING + 1))).toThrow(/nested deeper/);
    expect(() => parseJson('{"a":'.repeat(1_000_000))).toThrow(/nested deeper/);
    expect(parseJson(`"${'['.repeat(1000)}"`)).toBe('['.repeat(1000));
  });

  it.each(['', '{"a":1', '"', '"\\', '{"a":1}}', '[1,]', '\ufeff{}'])('“%s” is no JSON', (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  });
});

describe('the beginning of a value', () => {
  it('is all of a small one, and counts members and elements together', () => {
    const value = { a: [1, 2, { b: null }], c: 'x' };
    expect(beginningOf(value, 6)).toEqual(value);
    expect(beginningOf(value, 5)).toEqual({ a: [1, 2, {}], c: 'x' });
    expect(isWithin(value, 6)).toBe(true);
    expect(isWithin(value, 5)).toBe(false);
  });

  it('ends where nesting does', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(JSON.stringify(beginningOf(deep, 1_000_000))).toBe(`${'['.repeat(102)}${']'.repeat(102)}`);
    expect(isWithin(deep, 1_000_000)).toBe(false);
  });
});

describe('what a schema says of a value', () => {
  const Two = strict({ list: Type.Array(Type.Integer(), { maxItems: 3000 }) });
  const { check } = checker(Two, 'MESSAGE_INVALID');

  it('is the same for a large one as for a small one', () => {
    const long = Array.from({ length: 3000 }, (_, i) => i);
    expect(check({ list: long }, 'x').list).toHaveLength(3000);
    expect(() => check({ list: [...long, 1] }, 'x')).toThrow(/\/list/);
    expect(() => check({ list: [...long.slice(1), 'a'] }, 'x')).toThrow(/\/list\/2999 must be integer/);
    expect(() => check({ list: [0.5] }, 'x')).toThrow(/\/list\/0 must be integer/);
  });

  it('names no place beyond where it looks, and still refuses', () => {
    const many = Array.from({ length: 100_000 }, (_, i) => i);
    const Long = checker(strict({ list: Type.Array(Type.Integer()) }), 'MESSAGE_INVALID');
    expect(() => Long.check({ list: [...many, 'a'] }, 'x')).toThrow('x: is not valid');
  });
});
