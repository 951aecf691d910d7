/**
 * The charts of the model before, which go on over the readings that a new model gets: whether these are calm by the former
 * profile is what the new model's drift is held against. How calm the former model *was* says nothing when the world changed
 * together with the model. Inputs alone: the former model gives no outputs any more.
 */
import type { DriftObserver } from './observe.ts';
import type { ChartVerdict } from './verdicts.ts';

/** Of the new model; then its trial is over, or what comes is no matter of the change of models. */
const WINDOWS = 10;

export class FormerCharts {
  readonly #observer: Pick<DriftObserver, 'input' | 'judge'>;
  #latest: ChartVerdict | undefined;
  #left = WINDOWS;

  /** @param observer between two windows; what it knew before counts on */
  constructor(observer: Pick<DriftObserver, 'input' | 'judge'>) {
    this.#observer = observer;
  }

  /** @param row as the former model had it */
  input(row: Float64Array): void {
    if (this.over || !this.#observer.input(row)) return;
    const verdict = this.#observer.judge();
    if (verdict !== 'not-enough-data') this.#latest = verdict;
  }

  /** Asked when a window of the new model is full; undefined: none of these readings alone has been full here. */
  beside(): ChartVerdict | undefined {
    if (this.over) return undefined;
    this.#left--;
    return this.#latest;
  }

  get over(): boolean {
    return this.#left <= 0;
  }
}
