import { useMemo, useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { liveDevice } from '../data/live.ts';
import { isHealthMetric, metricOf } from '../data/metric.ts';
import { useRequest } from '../data/use-request.ts';
import { Plot } from '../ui/plot.tsx';
import type { Readout } from '../ui/plot-options.ts';
import { Problem } from '../ui/problem.tsx';
import { type Column, extended, historyOf, withGaps } from './columns.ts';

/** At first only those; the rest on demand, so that a board with forty sensors is still a page. */
const FIRST = 6;
const REFRESH_MS = 10_000;
/** Four missed records. */
const GAP_MS = 120_000;

/** One small plot per health metric, with one cursor over all of them. */
export function HealthPlots({ id }: { id: string }) {
  const [everything, setEverything] = useState(false);
  const { data, problem } = useRequest(
    (signal) => call('deviceHealth', { params: { id }, query: { limit: 720 }, signal }),
    ['health', id],
    REFRESH_MS,
  );
  // Records come each half minute; what the device says live each second continues them.
  const readings = liveDevice(id).readings.value;
  const history = useMemo(() => data && extended(historyOf(data), readings), [data, readings]);
  const names = useMemo(
    () =>
      Object.keys(data?.values ?? {})
        .filter(isHealthMetric)
        .sort(byUse),
    [data],
  );
  const shown = everything ? names : names.slice(0, FIRST);
  return (
    <section class="stack" aria-labelledby="health-title">
      <h2 id="health-title">Health</h2>
      {problem && <Problem problem={problem} />}
      {data && names.length === 0 && (
        <p class="card muted">No health report is stored yet; the first comes within a minute.</p>
      )}
      <div class="grid">
        {history &&
          shown.map((name) => (
            <HealthPlot key={name} name={name} ts={history.ts} column={history.values[name] ?? []} />
          ))}
      </div>
      {names.length > FIRST && (
        <p>
          <button
            type="button"
            class="button"
            onClick={() => setEverything(!everything)}
            aria-expanded={everything}
          >
            {everything ? 'Show fewer' : `Show all ${names.length} metrics`}
          </button>
        </p>
      )}
    </section>
  );
}

const USUAL = [/^cpu/, /^mem/, /^temp/, /^disk_free$/, /^load/, /^rss/, /^loop/, /^gpu/, /^power/];
const rank = (name: string): number => {
  const at = USUAL.findIndex((pattern) => pattern.test(name));
  return at < 0 ? USUAL.length : at;
};
const byUse = (a: string, b: string): number => rank(a) - rank(b) || a.localeCompare(b);

function HealthPlot({ name, ts, column }: { name: string; ts: number[]; column: Column }) {
  const [readout, setReadout] = useState<Readout>();
  const metric = metricOf(name);
  const data = useMemo(() => withGaps(ts, column, GAP_MS), [ts, column]);
  const value = readout ? readout.values[0] : column.findLast((each) => each !== null);
  return (
    <section class="card" aria-label={metric.title}>
      <header>
        <h3>{metric.title}</h3>
        <span class="readout end">
          <b>{typeof value === 'number' ? metric.format(value) : '–'}</b>
        </span>
      </header>
      <Plot
        shape={{
          label: `${metric.title} over time`,
          height: 132,
          metric: name,
          series: [{ name, title: metric.title, tone: 2, fill: true }],
          group: 'device',
        }}
        data={data}
        onReadout={setReadout}
      />
    </section>
  );
}
