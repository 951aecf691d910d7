/** Reported windows of one or many devices, merged and tested: what the drift screens show. */

import type { Static } from 'typebox';
import type { DriftFeature as DriftFeatureSchema, DriftView } from '../api.ts';
import type { ChartProfile, DriftProfile } from '../manifest.ts';
import type { DriftRecord } from '../records.ts';
import { type ChartCounts, emptyCounts, mergeCounts } from './counts.ts';
import { profileHash } from './profile.ts';
import { effectSizes, prepareChart, testChart } from './statistics.ts';

type DriftFeature = Static<typeof DriftFeatureSchema>;
type Verdict = DriftRecord['verdict'];

/** With Bonferroni over a chart's three tests and all charts. */
const LEVEL = 0.05;

function describe(profile: DriftProfile, chart: ChartProfile, merged: ChartCounts): DriftFeature {
  const test = testChart(prepareChart(profile, chart), merged.counts);
  const { psi, jensenShannon } = effectSizes(chart.probabilities, merged.counts);
  const p = Math.min(1, 3 * Math.min(test.pLocation, test.pScale, test.pOmnibus));
  const enough = test.n >= profile.window / 2 && test.minimumDetectableShift !== null;
  const found = test.n >= profile.window / 2 && p * profile.charts.length < LEVEL;
  return {
    name: chart.name,
    n: test.n,
    psi,
    jensenShannon,
    zLocation: test.zLocation,
    zScale: test.zScale,
    p,
    minimumDetectableShift: test.minimumDetectableShift,
    missing: merged.missing,
    verdict: found ? 'drift' : enough ? 'calm' : 'not-enough-data',
    reference: chart.probabilities,
    observed: merged.counts.map((count) => (test.n > 0 ? count / test.n : 0)),
    edges: chart.edges,
  };
}

/** The devices' own sequential verdicts decide; the merged charts attribute. */
function overall(records: readonly DriftRecord[], latest: readonly DriftRecord[], window: number): Verdict {
  if (latest.some(({ verdict }) => verdict === 'drift')) return 'drift';
  return records.reduce((sum, { n }) => sum + n, 0) >= window ? 'calm' : 'not-enough-data';
}

/** The server knows which device a window came from; without that, a start of the agent stands for it. */
export type ReportedWindow = DriftRecord & { device?: string };

const latestPerDevice = (records: readonly ReportedWindow[]): DriftRecord[] => {
  const latest = new Map<string, DriftRecord>();
  for (const record of records) {
    const key = record.device ?? record.boot;
    if (record.ts >= (latest.get(key)?.ts ?? Number.NEGATIVE_INFINITY)) latest.set(key, record);
  }
  return [...latest.values()];
};

/** Windows of another profile are left out: their counts mean other bins. Each window must be given once. */
export function summariseDrift(
  profile: DriftProfile,
  records: readonly ReportedWindow[],
): Pick<DriftView, 'windows' | 'from' | 'to' | 'verdict' | 'features'> {
  const hash = profileHash(profile);
  const own = records.filter((record) => record.profile === hash);
  const merged = new Map(
    profile.charts.map((chart) => [chart.name, emptyCounts(chart.name, chart.probabilities.length)]),
  );
  for (const counts of own.flatMap((record) => record.charts)) {
    const before = merged.get(counts.name);
    if (before) merged.set(counts.name, mergeCounts(before, counts));
  }
  const times = own.map(({ ts }) => ts);
  return {
    windows: own.length,
    from: times.length > 0 ? Math.min(...times) : null,
    to: times.length > 0 ? Math.max(...times) : null,
    verdict: overall(own, latestPerDevice(own), profile.window),
    features: profile.charts.map((chart) => describe(profile, chart, merged.get(chart.name)!)),
  };
}
