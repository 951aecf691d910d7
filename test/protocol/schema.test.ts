import { recordOf } from '@skein/protocol/schema.ts';
import { Type } from 'typebox';
import { Check } from 'typebox/schema';
import { describe, expect, it } from 'vitest';

describe('an object of any keys', () => {
  it.each([
    [
      'of any name',
      recordOf(Type.Null(), { maxProperties: 3 }),
      Type.Record(Type.String(), Type.Null(), { maxProperties: 3 }),
    ],
    [
      'of a pattern',
      recordOf(Type.Null(), { keys: '^a$' }),
      Type.Record(Type.String({ pattern: '^a$' }), Type.Null()),
    ],
  ])('has the schema that TypeBox gives it: %s', (_names, ours, theirs) => {
    expect(JSON.parse(JSON.stringify(ours))).toEqual(JSON.parse(JSON.stringify(theirs)));
  });

  it('refuses a value that is of another type', () => {
    const counts = recordOf(Type.Integer({ minimum: 0 }));
    expect(Check(counts, { a: 1, b: 2 })).toBe(true);
    for (const wrong of [{ a: 1, b: -1 }, { a: '1' }, 'a', 1, null]) expect(Check(counts, wrong)).toBe(false);
  });
});
