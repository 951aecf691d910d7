/** Sums up and removes by policy, a bounded step at a time, never more than a fifth of the time. */
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { Policy } from './rollup.ts';
import { expireStep, rollStep } from './sqlite-rollups.ts';
import { keepSteadyTime } from './sqlite-steady-time.ts';
import type { Store } from './sqlite-store.ts';
import type { SteadyTime } from './steady-time.ts';

export interface RetentionDeps {
  store: Store;
  clock: Clock;
  /** Kept in the store from here. */
  time: SteadyTime;
  log: Log;
  policy: Policy;
}

export interface Retention {
  /** Since the start: batches summed up, rows removed, steps that failed. */
  readonly counts: Readonly<{ rolled: number; expired: number; failed: number }>;
  stop(): Promise<void>;
}

/** After a step that found nothing to do, or failed. */
const IDLE_MS: Millis = MINUTE;
const KEEP_EVERY_MS: Millis = 10 * MINUTE;
const REST_PER_WORK = 4;
const LEAST_REST_MS: Millis = 20;

export function startRetention({ store, clock, time, log, policy }: RetentionDeps): Retention {
  const counts = { rolled: 0, expired: 0, failed: 0 };
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;
  let keepAt: Millis = Number.NEGATIVE_INFINITY;

  async function keepTime(): Promise<void> {
    if (clock.mono() < keepAt) return;
    await keepSteadyTime(store, time);
    keepAt = clock.mono() + KEEP_EVERY_MS;
  }
  async function step(): Promise<boolean> {
    await keepTime();
    const rolled = await rollStep(store, policy, time.ofAges());
    const expired = await expireStep(store, policy, time.ofAges());
    counts.rolled += rolled;
    counts.expired += expired;
    return rolled + expired > 0;
  }
  async function run(): Promise<void> {
    const began = clock.mono();
    const more = await step().catch((error: Error) => {
      counts.failed++;
      log.error('retention', { error: error.message });
      return false;
    });
    const restMs = more ? Math.max(LEAST_REST_MS, REST_PER_WORK * (clock.mono() - began)) : IDLE_MS;
    if (!stopped) timer = clock.after(restMs, start);
  }
  function start(): void {
    running = run();
  }
  start();
  return {
    counts,
    async stop() {
      stopped = true;
      timer?.cancel();
      await running;
    },
  };
}
