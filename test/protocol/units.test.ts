import { parseDuration } from '@skein/protocol/units.ts';
import { describe, expect, it } from 'vitest';

describe('a duration as people write it', () => {
  it.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['1.5m', 90_000],
    ['10m', 600_000],
    ['10min', 600_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
    ['0', 0],
  ])('reads %s', (text, millis) => {
    expect(parseDuration(text)).toBe(millis);
  });

  it.each(['5', 'soon', '', '-1s', '10 parsecs', '1e9d', '9999999999s'])(
    'does not guess what %j means',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
});
