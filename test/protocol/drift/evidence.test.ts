import { evidenceAbove } from '@skein/protocol/drift/evidence.ts';
import { describe, expect, it } from 'vitest';
import { Chance } from '../../sim/seeded.ts';

/** One false alarm in so many. */
const TWENTY = 20;

describe('the evidence', () => {
  it('is a fair bet: its mean is 1 when the rate is just the one allowed', () => {
    const [n, rate] = [40, 0.1];
    let mean = 0;
    let weight = (1 - rate) ** n;
    for (let k = 0; k <= n; k++) {
      mean += weight * evidenceAbove(k, n, rate);
      weight *= ((n - k) / (k + 1)) * (rate / (1 - rate));
    }
    expect(mean).toBeCloseTo(1, 6);
  });

  it('calls a harmless rate too high in at most 5% of trials, however often one looks', () => {
    const chance = new Chance(20260101);
    const [trials, looks, rate] = [2_000, 200, 0.05];
    let halted = 0;
    for (let i = 0; i < trials; i++) {
      let k = 0;
      for (let n = 1; n <= looks; n++) {
        if (chance.is(rate)) k++;
        if (evidenceAbove(k, n, rate) < TWENTY) continue;
        halted++;
        break;
      }
    }
    expect(halted / trials).toBeLessThan(0.05);
  });

  it('finds five times the allowed rate within 200 in most trials', () => {
    const chance = new Chance(20260102);
    let found = 0;
    for (let i = 0; i < 500; i++) {
      let k = 0;
      for (let n = 1; n <= 200; n++) {
        if (chance.is(0.05)) k++;
        if (evidenceAbove(k, n, 0.01) >= TWENTY) {
          found++;
          break;
        }
      }
    }
    expect(found / 500).toBeGreaterThan(0.8);
  });
});
