/** A request as a value: loading, failed or there. The last good answer stays while the next one is fetched. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { asProblem, type ProblemError } from './problem.ts';

export interface Requested<T> {
  data: T | undefined;
  problem: ProblemError | undefined;
  reload(): void;
}

/** `everyMs` reads again while the page is visible. A change of `keys` drops the old answer. */
export function useRequest<T>(
  request: (signal: AbortSignal) => Promise<T>,
  keys: readonly unknown[],
  everyMs?: number,
): Requested<T> {
  const [state, setState] = useState<{ key: string; data?: T; problem?: ProblemError }>({ key: '' });
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(keys);
  const latest = useRef(request);
  latest.current = request;

  // `turn` asks for a new reading of the same thing.
  useEffect(() => {
    const abort = new AbortController();
    const settle = (result: { data?: T; problem?: ProblemError }) => {
      if (!abort.signal.aborted)
        setState((old) => (old.key === key && result.problem ? { ...old, ...result } : { key, ...result }));
    };
    latest.current(abort.signal).then(
      (data) => settle({ data }),
      (thrown) => settle({ problem: asProblem(thrown) }),
    );
    return () => abort.abort();
  }, [key, turn]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  useEffect(() => {
    if (!everyMs) return;
    const timer = setInterval(() => document.visibilityState === 'visible' && reload(), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, reload]);

  const current = state.key === key ? state : undefined;
  return { data: current?.data, problem: current?.problem, reload };
}
