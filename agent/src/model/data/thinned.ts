/**
 * At most so many of a stream whose length nobody knows, evenly spaced and the same ones every time: every `stride`-th
 * is kept, and when there are too many, every other goes and the stride doubles. Pure.
 */
export class Thinned<T> {
  readonly #most: number;
  #kept: T[] = [];
  #stride = 1;
  #seen = 0;

  constructor(most: number) {
    this.#most = Math.max(2, most);
  }

  /** Whether the next one will be kept: what it costs to make can be saved. */
  get wanted(): boolean {
    return this.#seen % this.#stride === 0;
  }

  add(item: T): void {
    if (this.wanted) this.#kept.push(item);
    this.#seen++;
    if (this.#kept.length <= this.#most) return;
    this.#kept = this.#kept.filter((_, i) => i % 2 === 0);
    this.#stride *= 2;
  }

  /** One that is not made. */
  skip(): void {
    this.#seen++;
  }

  get seen(): number {
    return this.#seen;
  }

  get items(): readonly T[] {
    return this.#kept;
  }
}
