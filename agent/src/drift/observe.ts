/**
 * Counts of one model's inputs and outputs, window by window, in constant memory: about 200 bytes a chart.
 * Windows tumble by count. A closed window carries this device's verdict so far; the counts let the server merge.
 */
import { addValue, type ChartCounts, emptyCounts } from '@skein/protocol/drift/counts.ts';
import { profileHash } from '@skein/protocol/drift/profile.ts';
import { eValue, type SequentialState, START, stepSequential } from '@skein/protocol/drift/sequential.ts';
import { type PreparedChart, prepareChart, testChart } from '@skein/protocol/drift/statistics.ts';
import type { ChartProfile, DriftProfile } from '@skein/protocol/manifest.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';

type Verdict = DriftRecord['verdict'];

/** A chart, its counts of the open window, and where its values come from. */
interface Chart {
  profile: ChartProfile;
  /** At the first verdict: it would hold up the first prediction after a start. */
  prepared?: PreparedChart;
  counts: ChartCounts;
  feature: number;
  difference: boolean;
}

/** One false alarm a month is allowed (DRIFT.md). */
const FALSE_ALARMS_PER_MONTH = 1;

const fresh = (profile: ChartProfile): ChartCounts => emptyCounts(profile.name, profile.probabilities.length);

export class DriftObserver {
  readonly #profile: DriftProfile;
  #hash: string | undefined;
  readonly #inputs: Chart[] = [];
  readonly #outputs = new Map<string, Chart>();
  #previous: Float64Array | undefined;
  #n = 0;
  #window = 0;
  #sequential: SequentialState = START;

  /** @param features the order of the rows given to {@link input}. */
  constructor(profile: DriftProfile, features: readonly string[]) {
    this.#profile = profile;
    for (const chart of profile.charts) {
      const difference = chart.name.endsWith(':diff');
      const feature = features.indexOf(difference ? chart.name.slice(0, -':diff'.length) : chart.name);
      const entry: Chart = { profile: chart, counts: fresh(chart), feature, difference };
      if (feature >= 0) this.#inputs.push(entry);
      else this.#outputs.set(chart.name, entry);
    }
  }

  /** One reading's raw features, missing ones NaN. True when the window is full: call {@link close}. */
  input(row: Float64Array): boolean {
    const before = this.#previous;
    for (const { profile, counts, feature, difference } of this.#inputs) {
      if (!difference) addValue(counts, profile.edges, profile.range, row[feature]!);
      else if (before) addValue(counts, profile.edges, profile.range, row[feature]! - before[feature]!);
    }
    this.#previous = row;
    return ++this.#n >= this.#profile.window;
  }

  output(charts: Readonly<Record<string, number>>): void {
    for (const name in charts) {
      const chart = this.#outputs.get(name);
      if (chart) addValue(chart.counts, chart.profile.edges, chart.profile.range, charts[name]!);
    }
  }

  /** Ends the window and starts the next. A window cut short (`n` below the profile's) has no verdict of its own. */
  close(stamp: Pick<DriftRecord, 'ts' | 'mono' | 'boot' | 'model' | 'version'>): DriftRecord {
    const charts = this.#charts();
    const verdict = this.#verdict(charts);
    this.#hash ??= profileHash(this.#profile);
    const record: DriftRecord = {
      ...stamp,
      profile: this.#hash,
      window: this.#window++,
      n: this.#n,
      charts: charts.map(({ counts }) => counts),
      verdict,
    };
    this.#begin(charts);
    return record;
  }

  /** As {@link close}, for whoever asks for nothing but the verdict. */
  judge(): Verdict {
    const charts = this.#charts();
    const verdict = this.#verdict(charts);
    this.#begin(charts);
    return verdict;
  }

  #charts(): Chart[] {
    return [...this.#inputs, ...this.#outputs.values()];
  }

  #begin(charts: readonly Chart[]): void {
    for (const chart of charts) chart.counts = fresh(chart.profile);
    this.#n = 0;
  }

  #verdict(charts: readonly Chart[]): Verdict {
    return this.#n >= this.#profile.window ? this.#judge(charts) : 'not-enough-data';
  }

  get observed(): number {
    return this.#n;
  }

  #judge(charts: readonly Chart[]): Verdict {
    let sum = 0;
    let tests = 0;
    let power = false;
    for (const chart of charts) {
      chart.prepared ??= prepareChart(this.#profile, chart.profile);
      const test = testChart(chart.prepared, chart.counts.counts);
      if (test.n === 0) continue;
      power ||= test.minimumDetectableShift !== null;
      sum += eValue(test.pLocation) + eValue(test.pScale) + eValue(test.pOmnibus);
      tests += 3;
    }
    if (tests === 0) return 'not-enough-data';
    const threshold = this.#profile.windowsPerMonth / FALSE_ALARMS_PER_MONTH;
    this.#sequential = stepSequential(this.#sequential, sum / tests, threshold);
    return this.#sequential.alarm ? 'drift' : power ? 'calm' : 'not-enough-data';
  }
}
