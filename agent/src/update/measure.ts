/**
 * Variants run in turns, so that what disturbs this machine disturbs all of them alike. Pure: clock and models are handed
 * in. Ends after `budgetMs` or `MAX_ROUNDS`, whichever is first, but not before `MIN_ROUNDS`; the median of each counts.
 */
import type { Millis } from '@skein/protocol/units.ts';
import type { Figure } from './variants.ts';

export const MIN_ROUNDS = 5;
const MAX_ROUNDS = 300;
const WARM_UP = 3;

export interface Runner {
  variant: string;
  run(round: number): Promise<unknown>;
}

export async function measureInTurns(
  runners: readonly Runner[],
  nowMs: () => Millis,
  budgetMs: Millis,
): Promise<Figure[]> {
  for (const { run } of runners) for (let i = 0; i < WARM_UP; i++) await run(i);
  const times = runners.map((): Millis[] => []);
  const end = nowMs() + budgetMs;
  for (let round = 0; round < MAX_ROUNDS && (round < MIN_ROUNDS || nowMs() < end); round++) {
    // Each is as often first as last.
    for (let k = 0; k < runners.length; k++) {
      const at = (k + round) % runners.length;
      const started = nowMs();
      await runners[at]!.run(round);
      times[at]!.push(nowMs() - started);
    }
  }
  return runners.map(({ variant }, i) => ({ variant, medianUs: median(times[i]!) * 1000 }));
}

function median(values: Millis[]): Millis {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
