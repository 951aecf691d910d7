import { useEffect, useRef, useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { liveDevice } from '../data/live.ts';
import type { ProblemError } from '../data/problem.ts';
import { useRequest } from '../data/use-request.ts';
import { extended, type History, historyOf, MAX_POINTS } from './columns.ts';

/** Up to here every record is shown; beyond, the server gives as fine as fits {@link SPAN_POINTS}. */
const RECORDS = 900;
const SPAN_POINTS = 1500;

/**
 * Stored predictions of a device, with the live score appended as it comes.
 * @param seconds how far back; of a short time as many records, as most devices give one a second
 */
export function usePredictions(
  id: string,
  seconds: number,
): { history: History | undefined; problem?: ProblemError } {
  const { data, problem } = useRequest(
    (signal) => call('devicePredictions', { params: { id }, query: queryOf(seconds), signal }),
    ['predictions', id, seconds],
  );
  const [history, setHistory] = useState<History>();
  const shownLimit = useRef(seconds);
  shownLimit.current = seconds > RECORDS ? MAX_POINTS : seconds;
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

const queryOf = (seconds: number) =>
  seconds <= RECORDS ? { limit: seconds } : { from: Date.now() - seconds * 1000, limit: SPAN_POINTS };

const scoreOnly = (history: History): History => ({
  ts: history.ts,
  values: { score: history.values.score ?? history.ts.map(() => null) },
});
