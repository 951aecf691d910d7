import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../../agent/src/uplink/backoff.ts';
import { RECONNECT } from '../../../agent/src/uplink/reconnect.ts';
import { seeded } from '../../protocol/batch/random.ts';

const entropyOf = (random: () => number) => ({
  bytes: (n: number) => Uint8Array.from({ length: n }, () => random() * 256),
});

describe('backoff', () => {
  it('spreads waits over the whole range below a ceiling that doubles up to its cap', () => {
    const entropy = entropyOf(seeded(1));
    for (const [attempt, ceiling] of [
      [0, 1000],
      [1, 2000],
      [5, 32_000],
      [9, 300_000],
      [5000, 300_000],
    ] as const) {
      const waits = Array.from({ length: 2000 }, () => backoffMs(attempt, entropy, RECONNECT.lan));
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(50);
      expect(Math.max(...waits)).toBeLessThanOrEqual(ceiling);
      const mean = waits.reduce((a, b) => a + b) / waits.length;
      expect(mean / ceiling).toBeGreaterThan(0.45);
      expect(mean / ceiling).toBeLessThan(0.55);
    }
  });

  it('is the same for the same seed', () => {
    const run = () => backoffMs(3, entropyOf(seeded(9)), RECONNECT.lan);
    expect(run()).toBe(run());
  });
});
