/**
 * A device-day of records with real content: the recorded counters of a busy machine as the health metrics they would be
 * (31 features and the uptime), their drift windows by the real observer, and predictions once a second. The recording
 * is shorter than a day: each time round it is read a few seconds later, so no minute comes twice.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DriftObserver } from '@skein/agent/drift/observe.ts';
import { atResolution } from '@skein/agent/health/resolution.ts';
import { HOST_FEATURES } from '@skein/agent/sources/host-rates.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { DriftRecord, HealthRecord, PredictionRecord } from '@skein/protocol/records.ts';
import { readRecording } from '../../train/recording.ts';

const HOST = join(import.meta.dirname, '../../../models/host');
const START = 1_763_812_345_678;
const BOOT = '0123456789abcdef';
export const DAY_SECONDS = 86_400;

const rows = readRecording(join(HOST, 'recording.csv.gz')).flat();
const manifest = JSON.parse(readFileSync(join(HOST, 'bundle/manifest.json'), 'utf8')) as Manifest;

const LATER = 7;
const rowAt = (second: number): Float64Array =>
  rows[(second + Math.floor(second / rows.length) * LATER) % rows.length]!;

/** Timers are late by some milliseconds, each a little otherwise. */
const late = (second: number): number => (second * 7919) % 11;
const stampAt = (second: number) => ({
  ts: START + second * 1000 + late(second),
  mono: 5_000 + second * 1000 + late(second),
  boot: BOOT,
});

/** 32 metrics. */
export function healthAt(second: number, rename = (name: string): string => name): HealthRecord {
  const row = rowAt(second);
  const metrics = Object.fromEntries(HOST_FEATURES.map((name, i) => [name, row[i]!]));
  const told = atResolution({ ...metrics, uptime_s: 3_000 + second });
  return {
    ...stampAt(second),
    metrics: Object.fromEntries(Object.entries(told).map(([name, value]) => [rename(name), value])),
  };
}

export function predictionAt(second: number): PredictionRecord {
  const [busy = 0] = rowAt(second);
  const score = Math.fround(Math.abs(Math.sin(second * 12.9898)) * 0.2 + Math.max(0, busy) * 0.1);
  return {
    ...stampAt(second),
    ...{ source: 'host', model: 'host', version: '1.0.0', label: score > 0.25 ? 'unusual' : 'usual' },
    ...{ score, alarm: 0, latency_us: 260 + ((second * 31) % 170) },
  };
}

/** Every window of the day, as the pipeline closes them. */
export function* driftWindows(seconds: number): Generator<{ second: number; window: DriftRecord }> {
  const observer = new DriftObserver(manifest.drift!, HOST_FEATURES);
  let number = 0;
  for (let second = 0; second < seconds; second++) {
    const full = observer.input(rowAt(second));
    observer.output({ 'output:score': predictionAt(second).score });
    if (!full) continue;
    const stamp = { ...stampAt(second), model: 'host', version: '1.0.0' };
    yield { second, window: { ...observer.close(stamp), window: number++ } };
  }
}
