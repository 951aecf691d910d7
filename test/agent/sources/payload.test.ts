import { describe, expect, it } from 'vitest';
import { parseJsonPath, valueAt } from '../../../agent/src/sources/json-path.ts';
import { mappingOf } from '../../../agent/src/sources/json-rows.ts';
import { payloadReader } from '../../../agent/src/sources/payload.ts';

const read = (text: string, values?: Record<string, string>, maxRows = 10, maxBytes = 10_000) =>
  payloadReader({ maxBytes, maxRows, mapping: mappingOf(values) })(Buffer.from(text), 'a/b');

describe('a path', () => {
  it.each([
    ['$', []],
    ['$.a.b_c-d', ['a', 'b_c-d']],
    ['$[0][12]', [0, 12]],
    [`$['odd name']["and.dots"].x`, ['odd name', 'and.dots', 'x']],
  ])('%s names one place', (text, steps) => expect(parseJsonPath(text)).toEqual(steps));

  it.each(['', 'a', '$a', '$.', '$..a', '$[*]', '$[-1]', '$.a b', "$['", `$${'.a'.repeat(33)}`])(
    '%j is refused',
    (text) => expect(parseJsonPath(text)).toBeUndefined(),
  );

  it('follows own members only', () => {
    expect(valueAt({ a: [1, { b: 2 }] }, ['a', 1, 'b'])).toBe(2);
    expect(valueAt({}, ['constructor', 'name'])).toBeUndefined();
    expect(valueAt([1], ['length', 0])).toBeUndefined();
    expect(valueAt('text', [0])).toBeUndefined();
  });
});

describe('a payload', () => {
  it('is one reading, an array of them, lines of them, or a number', () => {
    expect(read('{"a":1}')).toEqual([{ values: { a: 1 } }]);
    expect(read('[{"a":1},{"a":2,"truth":"ok"}]')).toEqual([
      { values: { a: 1 } },
      { values: { a: 2 }, truth: 'ok' },
    ]);
    expect(read('{"a":1}\n\n{"a":2}\r\n')).toEqual([{ values: { a: 1 } }, { values: { a: 2 } }]);
    expect(read('1.5')).toEqual([{ values: { b: 1.5 } }]);
    expect(read('1.5', { t: '$' })).toEqual([{ values: { t: 1.5 } }]);
  });

  it.each([
    ['{"a":1}\nnope', undefined, 'a/b: line 2: “nope” is not JSON'],
    ['[{"a":1},{"a":"x"}]', undefined, 'a/b: reading 1: a is not a number'],
    ['[1,2]', undefined, 'a/b: reading 0: not a JSON object'],
    ['{"a":{}}', { t: '$.a' }, 'a/b: $.a (t) is not a number'],
    ['{"a":""}', { t: '$.a' }, 'a/b: $.a (t) is not a number'],
    ['{"b":1}', { t: '$.a', u: '$.c' }, 'a/b: nothing is at any path'],
    ['{}\n'.repeat(11), undefined, 'a/b: more than 10 lines'],
    [`[${Array(11).fill('{}')}]`, undefined, 'a/b: more than 10 readings'],
    [' '.repeat(10_001), undefined, 'a/b: 10001 bytes, at most 10000 are taken'],
    [
      JSON.stringify(Object.fromEntries(Array.from({ length: 1_025 }, (_, i) => [i, 0]))),
      undefined,
      'more than 1024 values',
    ],
  ])('that is no reading says where: %#', (text, values, message) => {
    expect(() => read(text, values)).toThrow(message);
  });
});
