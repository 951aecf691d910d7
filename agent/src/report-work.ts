/** What the work yields, told to everyone it concerns: the outbox, who watches live, and the incidents. */
import type { EventMessage, StateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { DriftRecord, HealthRecord, PredictionRecord, UpdateReport } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Uplink } from './agent-parts.ts';
import { WindowMerger } from './drift/merge-windows.ts';
import type { Incidents } from './health/incidents.ts';
import type { Metrics } from './health/probe.ts';
import type { BackendFacts } from './inference/backend.ts';
import { detailOf } from './pipeline/outcome-detail.ts';
import type { Outcome } from './pipeline/postprocess.ts';
import type { Recorder } from './run-records.ts';

export interface WorkReportDeps {
  clock: Clock;
  log: Log;
  recorder: Recorder;
  uplink: Uplink;
  incidents: Incidents;
  /** Whether live state is to be published now, and how far apart at least. */
  live(): { everyMs: Millis } | undefined;
  /** Drift windows are added up this long; 0: each by itself. */
  driftEveryMs: Millis;
  latestHealth(): Metrics;
}

export interface WorkReports {
  prediction(record: PredictionRecord, outcome?: Pick<Outcome, 'top' | 'boxes'>): void;
  health(record: HealthRecord): void;
  drift(record: DriftRecord): void;
  /** Records what is only added up so far, for a clean stop. */
  flush(): void;
  /** @throws SkeinError DISK_FULL, DISK_FAILED: the report is not durable yet */
  update(report: UpdateReport): void;
  /** An execution backend became unusable, or usable again (null). */
  backend(name: string, fault: BackendFacts['fault']): void;
  /** A model runs as its stand-in variant (why), or as the chosen one again (null). */
  standIn(model: string, why: string | null): void;
  /** Another agent uses this identity, as its connection or the server's chain of a stream shows; or no more (null). */
  rival(detail: string | null, stream?: string): void;
  /** Committing to the outbox fails for this reason, or works again. */
  disk(reason: string | null): void;
}

/** Without a prediction for this long, `state` shows health alone. */
const QUIET_MS: Millis = 10_000;

export function reportWork({
  clock,
  recorder,
  uplink,
  incidents,
  live,
  driftEveryMs,
  latestHealth,
}: WorkReportDeps): WorkReports {
  let predictedMono = Number.NEGATIVE_INFINITY;
  let statedMono = Number.NEGATIVE_INFINITY;
  const windows = new WindowMerger(driftEveryMs);
  const state = (message: () => StateMessage): void => {
    const wanted = live();
    if (!wanted || clock.mono() - statedMono < wanted.everyMs) return;
    statedMono = clock.mono();
    uplink.state(message());
  };
  return {
    prediction(record, outcome) {
      recorder.prediction(record);
      predictedMono = clock.mono();
      const { ts, model, version, label, score, alarm, latency_us } = record;
      const reading = { ts, model, version, label, score, alarm, latency_ms: latency_us / 1000 };
      state(() => ({ ...reading, ...detailOf(outcome), ...latestHealth() }));
    },
    health(record) {
      recorder.health(record);
      const quiet = clock.mono() - predictedMono > QUIET_MS;
      if (quiet) state(() => ({ ts: record.ts, ...record.metrics }));
    },
    drift(record) {
      for (const due of windows.take(record)) recorder.drift(due);
      const source = record.model;
      if (record.verdict === 'drift') incidents.raise('DRIFT', { source, detail: `window ${record.window}` });
      if (record.verdict === 'calm') incidents.clear('DRIFT', source);
    },
    update(report) {
      recorder.report(report);
      const { model: source, outcome, version, reason, detail } = report;
      const said = `${version} ${outcome}: ${reason} ${detail ?? ''}`.trim();
      if (outcome === 'refused' || outcome === 'reverted')
        incidents.raise('UPDATE_FAILED', { source, detail: said });
      if (outcome === 'committed') incidents.clear('UPDATE_FAILED', source);
    },
    flush() {
      for (const held of windows.flush()) recorder.drift(held);
    },
    backend(source, fault) {
      const code = fault?.code === 'DRIVER_MISMATCH' ? 'DRIVER_MISMATCH' : 'BACKEND_UNAVAILABLE';
      for (const other of ['DRIVER_MISMATCH', 'BACKEND_UNAVAILABLE'] as const)
        if (!fault || other !== code) incidents.clear(other, source);
      if (fault) incidents.raise(code, { source, detail: `${fault.code}: ${fault.detail}` });
    },
    standIn(source, detail) {
      if (detail === null) incidents.clear('VARIANT_FALLBACK', source);
      else incidents.raise('VARIANT_FALLBACK', { source, detail });
    },
    rival(detail, stream) {
      if (detail === null) incidents.clear('IDENTITY_CLONED', stream);
      else incidents.raise('IDENTITY_CLONED', { ...(stream ? { source: stream } : {}), detail });
    },
    disk(reason) {
      if (reason === null) incidents.clear('DISK_LOW', 'outbox');
      else incidents.raise('DISK_LOW', { source: 'outbox', detail: reason });
    },
  };
}

/** An incident's message goes into the log, the outbox and to whoever watches. */
export const incidentTeller =
  ({ log, recorder, uplink }: Pick<WorkReportDeps, 'log' | 'recorder' | 'uplink'>) =>
  (event: EventMessage): void => {
    log[event.after.severity === 'notice' ? 'info' : 'warn'](`incident ${event.type}`, { ...event.after });
    recorder.incident(event);
    uplink.event(event);
  };
