import { BodyBudget } from '@skein/agent/api/body-budget.ts';
import { describe, expect, it } from 'vitest';

describe('the memory for requests', () => {
  it('is there again when the work with them has ended, well or not', async () => {
    const budget = new BodyBudget(100);
    const { promise, resolve } = Promise.withResolvers<string>();
    const first = budget.during(80, () => promise);
    await expect(budget.during(21, () => 'not reached')).rejects.toMatchObject({ code: 'OVERLOADED' });
    expect(await budget.during(20, () => 'fits')).toBe('fits');
    resolve('done');
    expect(await first).toBe('done');
    await expect(budget.during(100, () => Promise.reject(new Error('its own')))).rejects.toThrow('its own');
    expect(await budget.during(100, () => 'all of it')).toBe('all of it');
  });

  it('may be owed by answers, and takes in nothing until these have gone', () => {
    const budget = new BodyBudget(100);
    budget.count(150);
    expect(() => budget.claim(1)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    expect(() => budget.claim(0)).not.toThrow();
    budget.count(-150);
    expect(() => budget.claim(100)).not.toThrow();
    expect(() => budget.claim(1)).toThrow(/fill the memory/);
  });
});
