/** A queue of at most `limit`: what comes beyond that takes the place of the oldest. No copying, whatever its length. */
export class Ring<T> {
  readonly #slots: (T | undefined)[];
  #head = 0;
  #length = 0;

  constructor(limit: number) {
    this.#slots = new Array<T | undefined>(limit).fill(undefined);
  }

  get length(): number {
    return this.#length;
  }

  /** @returns whether the oldest had to go. */
  push(item: T): boolean {
    const { length: limit } = this.#slots;
    if (this.#length < limit) {
      this.#slots[(this.#head + this.#length++) % limit] = item;
      return false;
    }
    this.#slots[this.#head] = item;
    this.#head = (this.#head + 1) % limit;
    return true;
  }

  /** The oldest, in order. */
  take(most: number): T[] {
    const taken: T[] = [];
    while (taken.length < most && this.#length > 0) {
      taken.push(this.#slots[this.#head]!);
      this.#slots[this.#head] = undefined;
      this.#head = (this.#head + 1) % this.#slots.length;
      this.#length--;
    }
    return taken;
  }

  /** Before all others, as far as there is room. @returns how many of them, the oldest, had to go. */
  putBack(items: readonly T[]): number {
    const room = this.#slots.length - this.#length;
    for (const item of items.slice(Math.max(0, items.length - room)).reverse()) {
      this.#head = (this.#head + this.#slots.length - 1) % this.#slots.length;
      this.#slots[this.#head] = item;
      this.#length++;
    }
    return Math.max(0, items.length - room);
  }
}
