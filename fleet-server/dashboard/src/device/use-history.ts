import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { liveDevice } from '../data/live.ts';
import type { ProblemError } from '../data/problem.ts';
import { useRequest } from '../data/use-request.ts';
import { extended, type History, historyOf } from './columns.ts';

/** Stored predictions of a device, with the live score appended as it comes. */
export function usePredictions(
  id: string,
  limit: number,
): { history: History | undefined; problem?: ProblemError } {
  const { data, problem } = useRequest(
    (signal) => call('devicePredictions', { params: { id }, query: { limit }, signal }),
    ['predictions', id, limit],
  );
  const [history, setHistory] = useState<History>();
  const shownLimit = useRef(limit);
  shownLimit.current = limit;
  useEffect(() => {
    if (data) setHistory(extended(scoreOnly(historyOf(data)), liveDevice(id).readings.peek()));
  }, [data, id]);
  useEffect(
    () =>
      liveDevice(id).readings.subscribe((readings) =>
        setHistory((known) => known && extended(known, readings, shownLimit.current)),
      ),
    [id],
  );
  return { history, ...(problem ? { problem } : {}) };
}

const scoreOnly = (history: History): History => ({
  ts: history.ts,
  values: { score: history.values.score ?? history.ts.map(() => null) },
});
