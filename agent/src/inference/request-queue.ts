/**
 * Requests that wait for one model: live readings before the local API's requests before shadow comparisons, in order of
 * arrival within each. At most `limit` wait. At the limit a request of a higher priority takes the place of the youngest
 * of the lowest; anything else is refused at once, never delayed unbounded.
 */
import type { Millis } from '@skein/protocol/units.ts';
import type { Tensors } from './backend.ts';
import { sameRowShape } from './batch.ts';

export const PRIORITIES = ['live', 'api', 'shadow'] as const;
export type Priority = (typeof PRIORITIES)[number];

export interface Request {
  readonly inputs: Tensors;
  /** undefined: runs alone. */
  readonly rows: number | undefined;
  readonly priority: Priority;
  /** Monotonic. */
  readonly arrived: Millis;
  readonly deadline: Millis;
}

export class RequestQueue<R extends Request> {
  readonly #limit: number;
  readonly #classes: Record<Priority, R[]> = { live: [], api: [], shadow: [] };
  #size = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  /** @returns who did not find room: the request itself, one that it displaced, or nobody. */
  add(request: R): R | undefined {
    if (this.#size < this.#limit) {
      this.#classes[request.priority].push(request);
      this.#size++;
      return undefined;
    }
    const lowest = PRIORITIES.findLast((priority) => this.#classes[priority].length > 0);
    if (!lowest || PRIORITIES.indexOf(lowest) <= PRIORITIES.indexOf(request.priority)) return request;
    this.#classes[request.priority].push(request);
    return this.#classes[lowest].pop();
  }

  /** The next request and those that fit beside it, at most `maxRows` rows together unless the first alone has more. */
  take(maxRows: number): R[] {
    const first = this.#first();
    if (!first) return [];
    const batch = [first];
    let rows = first.rows ?? maxRows;
    const fits = (request: R): boolean => {
      if (request.rows === undefined || rows + request.rows > maxRows) return false;
      if (!sameRowShape(first.inputs, request.inputs)) return false;
      rows += request.rows;
      return true;
    };
    for (const priority of PRIORITIES) {
      if (rows >= maxRows) break;
      const waiting = this.#classes[priority];
      if (waiting.length === 0) continue;
      const stay: R[] = [];
      for (const request of waiting) (fits(request) ? batch : stay).push(request);
      this.#classes[priority] = stay;
    }
    this.#size -= batch.length;
    return batch;
  }

  #first(): R | undefined {
    for (const priority of PRIORITIES) {
      const first = this.#classes[priority].shift();
      if (first) return first;
    }
    return undefined;
  }

  /** Takes out everyone whose deadline has come. */
  expired(now: Millis): R[] {
    const late: R[] = [];
    for (const priority of PRIORITIES) {
      const waiting = this.#classes[priority];
      if (!waiting.some(({ deadline }) => deadline <= now)) continue;
      this.#classes[priority] = waiting.filter(({ deadline }) => deadline > now);
      late.push(...waiting.filter(({ deadline }) => deadline <= now));
    }
    this.#size -= late.length;
    return late;
  }

  /** Earliest of all that wait; Infinity when none does. */
  nextDeadline(): Millis {
    let next = Number.POSITIVE_INFINITY;
    for (const priority of PRIORITIES)
      for (const { deadline } of this.#classes[priority]) if (deadline < next) next = deadline;
    return next;
  }
}
