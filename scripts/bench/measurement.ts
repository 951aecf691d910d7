/** What every benchmark says: one figure, the bar it is held against, and whether it holds. */
export interface Measurement {
  bench: string;
  metric: string;
  /** In `unit`. */
  value: number;
  unit: string;
  /** The limit or the peer's figure, as people read it: `≤ 20 µs`, `> 1 × raw session.run`. null: only observed. */
  bar: string | number | null;
  /** null: there is no bar. */
  holds: boolean | null;
}

export type Emit = (measurement: Measurement) => void;

/** Each module beside this one, but for this one, is a benchmark by its file's name. */
export interface Benchmark {
  run(emit: Emit): Promise<void> | void;
}
