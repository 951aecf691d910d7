import { canonicalJson, MAX_DEPTH } from '@skein/protocol/trust/canonical-json.ts';
import { describe, expect, it } from 'vitest';

const text = (value: unknown) => new TextDecoder().decode(canonicalJson(value));

describe('canonical JSON', () => {
  it('sorts keys, leaves no white space and keeps arrays in order', () => {
    expect(text({ b: [3, 1, 2], a: { d: null, c: true }, '': false })).toBe(
      '{"":false,"a":{"c":true,"d":null},"b":[3,1,2]}',
    );
  });

  it('escapes only quote and backslash, so control characters and Unicode stay raw', () => {
    expect(text('a"b\\c\n\tü\u{1f9a2}')).toBe('"a\\"b\\\\c\n\tü\u{1f9a2}"');
  });

  it('sorts by code point, not by UTF-16 unit', () => {
    expect(text({ '\u{1f9a2}': 1, '\uff5e': 2 })).toBe('{"\uff5e":2,"\u{1f9a2}":1}');
  });

  it('writes an integer one way however it was spelled', () => {
    expect(text(JSON.parse('[1.0, 1e2, -0, -7]'))).toBe('[1,100,0,-7]');
  });

  it.each([1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY])('refuses the number %s', (value) => {
    expect(() => canonicalJson({ value })).toThrow(expect.objectContaining({ code: 'METADATA_INVALID' }));
  });

  it.each([['\ud800'], [undefined], [() => 1], [10n]])('refuses %s, which has no canonical form', (value) => {
    expect(() => canonicalJson([value])).toThrow(expect.objectContaining({ code: 'METADATA_INVALID' }));
  });

  it('refuses a recursion bomb instead of overflowing the stack', () => {
    const bomb = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
    expect(() => canonicalJson(bomb)).toThrow(new RegExp(`deeper than ${MAX_DEPTH}`));
  });

  it('keeps a member named __proto__ as data', () => {
    expect(text(JSON.parse('{"__proto__":{"x":1},"a":2}'))).toBe('{"__proto__":{"x":1},"a":2}');
  });
});
