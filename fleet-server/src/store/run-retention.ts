/** Sums up and removes by policy, a bounded step at a time, never more than a fifth of the time. */
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { Policy } from './rollup.ts';
import { expireStep, rollStep } from './sqlite-rollups.ts';
import type { Store } from './sqlite-store.ts';

export interface RetentionDeps {
  store: Store;
  clock: Clock;
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
const REST_PER_WORK = 4;
const LEAST_REST_MS: Millis = 20;

export function startRetention({ store, clock, log, policy }: RetentionDeps): Retention {
  const counts = { rolled: 0, expired: 0, failed: 0 };
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;

  async function step(): Promise<boolean> {
    const rolled = await rollStep(store, policy, clock.now());
    const expired = await expireStep(store, policy, clock.now());
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
