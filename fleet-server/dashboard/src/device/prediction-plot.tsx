import { useMemo, useState } from 'preact/hooks';
import { score, timeOfDay } from '../data/format.ts';
import { liveDevice } from '../data/live.ts';
import { alarmLimit } from '../data/manifests.ts';
import { Plot } from '../ui/plot.tsx';
import type { Readout } from '../ui/plot-options.ts';
import { Problem } from '../ui/problem.tsx';
import { Segments } from '../ui/segments.tsx';
import { withGaps } from './columns.ts';
import { usePredictions } from './use-history.ts';

const RANGES = [
  { value: 120, text: '2 min' },
  { value: 900, text: '15 min' },
  { value: 86_400, text: '24 h' },
  { value: 30 * 86_400, text: '30 d' },
  { value: 365 * 86_400, text: '1 y' },
] as const;

/** Score over time: what is stored at the server, and what comes in live. */
export function PredictionPlot({ id, model }: { id: string; model: string | null }) {
  const [seconds, setSeconds] = useState<number>(RANGES[1].value);
  const [readout, setReadout] = useState<Readout>();
  const { history, problem } = usePredictions(id, seconds);
  const alarm = alarmLimit(model);
  const data = useMemo(() => withGaps(history?.ts ?? [], history?.values.score ?? []), [history]);
  const state = liveDevice(id).state.value;
  const at = readout ?? (state?.score === undefined ? undefined : { ts: state.ts, values: [state.score] });
  return (
    <section class="card" aria-labelledby="prediction-title">
      <header>
        <h2 id="prediction-title">Prediction score</h2>
        <span class="readout">
          {at && (
            <>
              <span>{timeOfDay(at.ts)}</span>
              <b>{typeof at.values[0] === 'number' ? score(at.values[0]) : 'no reading'}</b>
            </>
          )}
          {alarm !== undefined && <span>alarm above {score(alarm)}</span>}
        </span>
        <span class="end">
          <Segments<number>
            label="Range"
            choices={RANGES}
            value={seconds}
            onChoose={(next) => setSeconds(next)}
          />
        </span>
      </header>
      {problem && <Problem problem={problem} />}
      <Plot
        shape={{
          label: `Prediction score over time, ${data[0].length} points`,
          height: 260,
          metric: 'score',
          series: [{ name: 'score', title: 'Score', tone: 1, fill: true }],
          limit: alarm,
          group: 'device',
        }}
        data={data}
        onReadout={setReadout}
        empty="No prediction is stored yet"
        loading={!history}
      />
    </section>
  );
}
