/** All chance in a simulated world comes from one seed (xoshiro128**), so a run can be replayed exactly. */
import type { Entropy } from '@skein/protocol/ports.ts';

export class Chance {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    // splitmix32 spreads a small seed over the state.
    let z = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      z = (z + 0x9e3779b9) >>> 0;
      let x = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
      this.#state[i] = x ^ (x >>> 15);
    }
  }

  #next(): number {
    const s = this.#state;
    const rotated = (x: number, k: number) => (x << k) | (x >>> (32 - k));
    const result = Math.imul(rotated(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotated(s[3]!, 11);
    return result;
  }

  /** Uniform in [0, 1). */
  unit(): number {
    return this.#next() / 2 ** 32;
  }

  /** True with this probability. */
  is(probability: number): boolean {
    return this.unit() < probability;
  }

  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + (to - from) * this.unit();
  }

  below(n: number): number {
    return Math.floor(this.unit() * n);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  entropy(): Entropy {
    return { bytes: (length) => Uint8Array.from({ length }, () => this.below(256)) };
  }
}
