import { Disturbance } from '@skein/agent/inference/disturbance.ts';
import { describe, expect, it } from 'vitest';

describe('work that nobody waits for', () => {
  it('may begin at once, and again when it touched nothing', () => {
    const disturbance = new Disturbance();
    expect(disturbance.allowed).toBe(true);
    disturbance.begin();
    disturbance.end(10);
    expect(disturbance.allowed).toBe(true);
  });

  it('owes a hundred readings for each that ran beside it, and for the first that came soon after', () => {
    const disturbance = new Disturbance();
    disturbance.begin();
    disturbance.reading(4);
    disturbance.end(10);
    disturbance.reading(9);
    let left = 0;
    for (let at = 50; !disturbance.allowed; at += 10, left++) disturbance.reading(at);
    expect(left).toBe(200);
  });

  it('owes nothing where readings are a second apart', () => {
    const disturbance = new Disturbance();
    for (let at = 0; at < 20_000; at += 1_200) {
      disturbance.reading(at);
      expect(disturbance.allowed).toBe(true);
      disturbance.begin();
      disturbance.end(at + 100);
    }
  });

  it('does not forgive ahead: a long quiet time allows one beginning, not many', () => {
    const disturbance = new Disturbance();
    for (let at = 0; at < 10_000; at += 10) disturbance.reading(at);
    disturbance.begin();
    disturbance.end(10_001);
    disturbance.reading(10_005);
    expect(disturbance.allowed).toBe(false);
  });
});
