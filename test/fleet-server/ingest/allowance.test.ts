import { describe, expect, it } from 'vitest';
import { BURST_SECONDS, createAllowance } from '../../../fleet-server/src/ingest/allowance.ts';

const RATES = { batchesPerSecond: 10, bytesPerSecond: 1000 };

describe('what a device may send', () => {
  it('is a burst after it was quiet, then its rate', () => {
    const allowance = createAllowance(RATES, 0);
    let sent = 0;
    for (let now = 0; now < 60_000; now += 10) {
      while (allowance.waitMs(now) === 0) {
        allowance.spend(1, 1, now);
        sent++;
      }
    }
    expect(sent).toBeGreaterThanOrEqual(10 * 60 + 10 * BURST_SECONDS - 1);
    expect(sent).toBeLessThanOrEqual(10 * 60 + 10 * BURST_SECONDS + 1);
  });

  it('counts bytes as well, and lets through what is larger than a burst once', () => {
    const allowance = createAllowance(RATES, 0);
    expect(allowance.waitMs(0)).toBe(0);
    allowance.spend(1, 9000, 0);
    expect(allowance.waitMs(0)).toBeGreaterThan(5_000 - 1);
    expect(allowance.waitMs(5_002)).toBe(0);
  });

  it('forgives: however much was overdrawn, the device is heard again', () => {
    const allowance = createAllowance(RATES, 0);
    allowance.spend(1e9, 1e12, 0);
    expect(allowance.waitMs(0)).toBeLessThanOrEqual(10_001);
  });

  it('says the moment from which it may send', () => {
    const allowance = createAllowance(RATES, 0);
    allowance.spend(45, 0, 0);
    const waitMs = allowance.waitMs(0);
    expect(waitMs).toBeGreaterThan(0);
    expect(allowance.waitMs(waitMs)).toBe(0);
    expect(allowance.full(waitMs)).toBe(false);
    expect(allowance.full(60_000)).toBe(true);
  });
});
