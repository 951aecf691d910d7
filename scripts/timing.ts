/** Measuring on a machine that does other things too: what is compared runs in turns, and medians are told. */
import { performance } from 'node:perf_hooks';

export const MICROSECONDS = 1_000;

/** @param q 0.5: the median. Of at least one value. */
export const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** @returns microseconds; or what the task says that it took, when it says so. */
async function timed(task: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  const told = await task();
  return typeof told === 'number' ? told : (performance.now() - started) * MICROSECONDS;
}

/** All in turns, so that a busy machine slows all; the first 200 rounds do not count. @returns times of each, microseconds */
export async function inTurns(
  tasks: readonly (() => Promise<unknown>)[],
  rounds: number,
): Promise<number[][]> {
  const times = tasks.map(() => [] as number[]);
  for (let round = 0; round < rounds + 200; round++) {
    for (const [i, task] of tasks.entries()) {
      const took = await timed(task);
      if (round >= 200) times[i]!.push(took);
    }
  }
  return times;
}

/** How late a timer of 1 ms fires, milliseconds, while `work` runs; at least for `forMs`. */
export async function timerLags(work: () => Promise<unknown>, forMs: number): Promise<number[]> {
  const lags: number[] = [];
  let running = true;
  let due = performance.now() + 1;
  const tick = () => {
    const now = performance.now();
    lags.push(now - due);
    due = now + 1;
    if (running) setTimeout(tick, 1);
  };
  setTimeout(tick, 1);
  const end = performance.now() + forMs;
  while (performance.now() < end) await work();
  running = false;
  return lags;
}
