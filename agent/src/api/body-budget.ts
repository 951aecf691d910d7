/** Bytes of requests and answers that all connections together may hold: each one is bounded, and without this their sum would not be. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { MAX_BODY } from './http-head.ts';

export const MAX_BODIES: Bytes = 4 * MAX_BODY;

export class BodyBudget {
  #left: Bytes;

  constructor(limit: Bytes = MAX_BODIES) {
    this.#left = limit;
  }

  /** For what has yet to be taken in. @throws SkeinError OVERLOADED; then nothing is counted */
  claim(bytes: Bytes): void {
    if (bytes > Math.max(0, this.#left))
      throw new SkeinError('OVERLOADED', 'the requests under way fill the memory that is there for them', {
        fix: 'Send it again in a moment, or fewer large requests at once.',
      });
    this.count(bytes);
  }

  /** Of what is there already, an answer for one; less than 0: it is gone. */
  count(bytes: Bytes): void {
    this.#left -= bytes;
  }

  /** Counts them while there is work with them. @throws SkeinError OVERLOADED and what `work` throws */
  async during<T>(bytes: Bytes, work: () => T | Promise<T>): Promise<T> {
    this.claim(bytes);
    try {
      return await work();
    } finally {
      this.count(-bytes);
    }
  }
}
