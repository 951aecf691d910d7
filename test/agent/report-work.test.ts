import type { DriftRecord, HealthRecord, PredictionRecord, UpdateReport } from '@skein/protocol/records.ts';
import { describe, expect, it } from 'vitest';
import type { Uplink } from '../../agent/src/agent-parts.ts';
import { openIncidents } from '../../agent/src/health/incidents.ts';
import { incidentTeller, reportWork } from '../../agent/src/report-work.ts';
import type { Recorder } from '../../agent/src/run-records.ts';
import { systemEntropy } from '../../agent/src/system-clock.ts';
import { manualClock } from './manual-clock.ts';

function scene(live = true) {
  const clock = manualClock();
  const seen: [string, unknown][] = [];
  const see = (what: string) => (value: unknown) => void seen.push([what, value]);
  const recorder = {
    prediction: see('kept prediction'),
    health: see('kept health'),
    drift: see('kept drift'),
    report: see('kept report'),
    incident: see('kept incident'),
  } as unknown as Recorder;
  const uplink = { state: see('state'), event: see('event') } as unknown as Uplink;
  const log = { info: see('info'), warn: see('warn'), error: see('error') };
  const store = { load: () => [], save: () => {} };
  const incidents = openIncidents(clock, systemEntropy, store, incidentTeller({ log, recorder, uplink }));
  const reports = reportWork({
    clock,
    log,
    recorder,
    uplink,
    incidents,
    live: () => (live ? { everyMs: 0 } : undefined),
    driftEveryMs: 0,
    latestHealth: () => ({ cpu: 0.5 }),
  });
  const open = () => incidents.open().map((incident) => `${incident.code} ${incident.source}`);
  return { clock, reports, seen, what: () => seen.map(([name]) => name), open };
}

const prediction = {
  ts: 1,
  model: 'host',
  version: '1.0.0',
  label: 'normal',
  score: 0.2,
  alarm: 0,
  latency_us: 250,
};
const update = (outcome: string) => ({ model: 'host', version: '1.1.0', outcome, reason: 'GOLDEN_MISMATCH' });

describe('what the work yields', () => {
  it('is a flat live state of prediction and health together', () => {
    const { reports, seen } = scene();
    reports.prediction(prediction as PredictionRecord);
    const state = {
      ts: 1,
      model: 'host',
      version: '1.0.0',
      label: 'normal',
      score: 0.2,
      alarm: 0,
      latency_ms: 0.25,
    };
    expect(seen).toEqual([
      ['kept prediction', prediction],
      ['state', { ...state, cpu: 0.5 }],
    ]);
  });

  it('shows health alone while nothing is predicted', async () => {
    const { clock, reports, what } = scene();
    reports.health({ ts: 1, metrics: { cpu: 1 } } as unknown as HealthRecord);
    expect(what()).toEqual(['kept health', 'state']);
    reports.prediction(prediction as PredictionRecord);
    await clock.advance(9_000);
    reports.health({ ts: 2, metrics: { cpu: 1 } } as unknown as HealthRecord);
    expect(what().slice(4)).toEqual(['kept health']);
  });

  it('is kept and not shown where live state is off', () => {
    const { reports, what } = scene(false);
    reports.prediction(prediction as PredictionRecord);
    reports.health({ ts: 1, metrics: {} } as unknown as HealthRecord);
    expect(what()).toEqual(['kept prediction', 'kept health']);
  });

  it('opens and closes incidents of drift, updates and the disk, each told to log, outbox and watchers', () => {
    const { reports, open, what } = scene();
    reports.drift({ model: 'host', window: 3, verdict: 'drift' } as DriftRecord);
    expect(what()).toEqual(['kept drift', 'warn', 'kept incident', 'event']);
    reports.drift({ model: 'host', window: 4, verdict: 'not-enough-data' } as DriftRecord);
    reports.update(update('reverted') as UpdateReport);
    reports.disk('database or disk is full');
    expect(open()).toEqual(['DRIFT host', 'UPDATE_FAILED host', 'DISK_LOW outbox']);
    reports.drift({ model: 'host', window: 5, verdict: 'calm' } as DriftRecord);
    reports.update(update('committed') as UpdateReport);
    reports.disk(null);
    expect(open()).toEqual([]);
  });
});
