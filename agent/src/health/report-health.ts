/** Samples the device, judges the samples and puts a health record into the outbox at its interval. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { HealthRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Incidents } from './incidents.ts';
import { type JudgeState, judge, type Limits, rulesFor } from './judge.ts';
import type { Metrics, Probe } from './probe.ts';

export interface HealthReportOptions {
  boot: string;
  /** Between two samples that are judged. */
  sampleMs: Millis;
  /** Between two records. */
  recordMs: Millis;
  limits: Limits;
}

export interface HealthReport {
  start(): void;
  stop(): void;
  /** Latest sample; empty before the first. */
  latest(): Metrics;
}

/** @param record takes a health record for the outbox. */
export function reportHealth(
  options: HealthReportOptions,
  clock: Clock,
  probe: Probe,
  incidents: Incidents,
  record: (record: HealthRecord) => void,
): HealthReport {
  const rules = rulesFor(options.limits);
  let state: JudgeState = {};
  let latest: Metrics = {};
  let recordedMono = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;

  const sample = (): void => {
    timer = clock.after(options.sampleMs, sample);
    latest = probe.sample();
    const verdict = judge(rules, state, latest, clock.mono());
    state = verdict.state;
    for (const { code, raised, detail } of verdict.changed)
      if (raised) incidents.raise(code, { detail });
      else incidents.clear(code);
    if (clock.mono() - recordedMono < options.recordMs) return;
    recordedMono = clock.mono();
    record({ ts: clock.now(), mono: Math.round(clock.mono()), boot: options.boot, metrics: latest });
  };

  return {
    start: sample,
    stop() {
      timer?.cancel();
      probe.close();
    },
    latest: () => latest,
  };
}
