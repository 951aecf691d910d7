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

  /** Of what has yet to be taken in. @throws SkeinError OVERLOADED */
  check(bytes: Bytes): void {
    if (bytes <= 0 || bytes <= this.#left) return;
    throw new SkeinError('OVERLOADED', 'the requests under way fill the memory that is there for them', {
      fix: 'Send it again in a moment, or fewer large requests at once.',
    });
  }

  /** Of what is there, an answer for one; less than 0: it is gone. */
  take(bytes: Bytes): void {
    this.#left -= bytes;
  }

  /** Takes them while there is work with them. @throws SkeinError OVERLOADED and what `work` throws */
  async during<T>(bytes: Bytes, work: () => T | Promise<T>): Promise<T> {
    this.check(bytes);
    this.take(bytes);
    try {
      return await work();
    } finally {
      this.take(-bytes);
    }
  }
}
