/** Time that jumps from event to event. Tasks of one instant run in the order in which they were asked for. */
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

interface Task {
  at: Millis;
  seq: number;
  run: (() => void) | undefined;
}

const START_AT: Millis = Date.UTC(2026, 0, 1);

export class VirtualTime {
  #now: Millis = 0;
  #seq = 0;
  /** Binary heap by (at, seq). */
  readonly #heap: Task[] = [];
  /** Tasks run so far. */
  steps = 0;

  /** Milliseconds since the world began. */
  get now(): Millis {
    return this.#now;
  }

  get wall(): Millis {
    return START_AT + this.#now;
  }

  after(delayMs: Millis, run: () => void): Timer {
    const task: Task = { at: this.#now + Math.max(0, delayMs), seq: this.#seq++, run };
    this.#push(task);
    return {
      cancel: () => {
        task.run = undefined;
      },
    };
  }

  wait(delayMs: Millis): Promise<void> {
    return new Promise((done) => this.after(delayMs, done));
  }

  /** The clock of a process that started now; `alive` false: its timers are forgotten. */
  clock(alive: () => boolean): Clock {
    const bornAt = this.#now;
    return {
      now: () => this.wall,
      mono: () => this.#now - bornAt,
      after: (delayMs, task) => this.after(delayMs, () => alive() && task()),
    };
  }

  /** Runs the next task and whatever promises it settles. False: nothing is left, or the next is past `until`. */
  async step(until: Millis): Promise<boolean> {
    const task = this.#heap[0];
    if (!task || task.at > until) return false;
    this.#pop();
    if (!task.run) return true;
    this.#now = task.at;
    this.steps++;
    task.run();
    await new Promise<void>((done) => setImmediate(done));
    return true;
  }

  /** Nothing happens until then. */
  jump(to: Millis): void {
    this.#now = Math.max(this.#now, to);
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let i = heap.push(task) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(heap[i]!, heap[up]!)) return;
      [heap[i], heap[up]] = [heap[up]!, heap[i]!];
      i = up;
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      let least = i;
      if (left < heap.length && before(heap[left]!, heap[least]!)) least = left;
      if (right < heap.length && before(heap[right]!, heap[least]!)) least = right;
      if (least === i) return;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

const before = (a: Task, b: Task): boolean => a.at < b.at || (a.at === b.at && a.seq < b.seq);
