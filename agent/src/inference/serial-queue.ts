/** Runs one task at a time in order of arrival. At most `limit` wait; one more is refused, never delayed unbounded. */
import { SkeinError } from '@skein/protocol/errors.ts';

export class SerialQueue {
  readonly #limit: number;
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** @throws SkeinError OVERLOADED without running the task */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#limit) {
      throw new SkeinError('OVERLOADED', `${this.#waiting} inferences are waiting already`, {
        fix: 'Send readings more slowly, or use a smaller model or a faster device.',
      });
    }
    this.#waiting++;
    const turn = this.#tail.then(task).finally(() => this.#waiting--);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /** When everything that waits now is done. */
  async idle(): Promise<void> {
    await this.#tail;
  }
}
