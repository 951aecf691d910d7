/** How long a run of a model takes that was just loaded, on zero inputs, and whether it may hold up the caller's thread. */
import type { Millis } from '@skein/protocol/units.ts';
import type { OnnxSession } from './onnx-session.ts';
import { zeroInputs } from './tensors.ts';

export type Runs = Pick<OnnxSession, 'inputs' | 'run'>;

/** Milliseconds since some moment, in fractions. */
type Mono = () => Millis;

export interface WarmUp {
  p50Ms: Millis;
  p99Ms: Millis;
}

/** Not counted, for at most a fifth of the time: caches and the machine's code are filled. */
const COLD_RUNS = 5;
const COUNTED_RUNS = 200;
const BUDGET_MS: Millis = 250;

/** @returns undefined when the model refuses zeros, or no run fitted into `budgetMs` beside the first */
export async function warmUp(
  session: Runs,
  mono: Mono,
  budgetMs: Millis = BUDGET_MS,
): Promise<WarmUp | undefined> {
  const inputs = zeroInputs(session.inputs);
  const times: Millis[] = [];
  try {
    await session.run(inputs);
    const now = mono();
    const [warm, end] = [now + budgetMs / 5, now + budgetMs];
    for (let i = 1; i < COLD_RUNS && mono() < warm; i++) await session.run(inputs);
    while (times.length < COUNTED_RUNS && mono() < end) {
      const started = mono();
      await session.run(inputs);
      times.push(mono() - started);
    }
  } catch {
    return undefined;
  }
  if (times.length === 0) return undefined;
  times.sort((a, b) => a - b);
  const at = (share: number): Millis => times[Math.ceil(times.length * share) - 1]!;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** What one try may hold up the caller's thread. */
const TRY_BUDGET_MS: Millis = 5;
/** p99 of a try is its second or third slowest run: a busy machine makes those of any model slow. */
const TRIES = 3;
/** A model this far below the limit is quick, whatever its slowest runs met with. */
const FAR_BELOW = 5;

/**
 * Tries the model on this thread, with a turn of the loop between the tries.
 * @returns p99 below `limitMs`; undefined when it is slower, or refuses zeros
 */
export async function quickHere(
  session: Runs,
  mono: Mono,
  limitMs: Millis,
  turn: () => Promise<void>,
): Promise<Millis | undefined> {
  for (let tries = 1; ; tries++) {
    const measured = await warmUp(session, mono, TRY_BUDGET_MS);
    if (!measured) return undefined;
    if (measured.p99Ms < limitMs) return measured.p99Ms;
    if (tries === TRIES || measured.p50Ms * FAR_BELOW > limitMs) return undefined;
    await turn();
  }
}
