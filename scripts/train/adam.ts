/** Adam (Kingma & Ba 2015), and the order in which samples come. Seeded by the caller; the same wherever doubles round alike. */
const BETA_1 = 0.9;
const BETA_2 = 0.999;

export class Adam {
  readonly #first: Float32Array;
  readonly #second: Float32Array;
  readonly #values: Float32Array;

  constructor(values: Float32Array) {
    this.#values = values;
    this.#first = new Float32Array(values.length);
    this.#second = new Float32Array(values.length);
  }

  /** Consumes (and clears) the gradient. */
  step(gradient: Float32Array, rate: number, time: number, batch: number): void {
    const correction = (rate * Math.sqrt(1 - BETA_2 ** time)) / (1 - BETA_1 ** time);
    for (let i = 0; i < gradient.length; i++) {
      const g = gradient[i]! / batch;
      const m = BETA_1 * this.#first[i]! + (1 - BETA_1) * g;
      const v = BETA_2 * this.#second[i]! + (1 - BETA_2) * g * g;
      this.#first[i] = m;
      this.#second[i] = v;
      this.#values[i]! -= (correction * m) / (Math.sqrt(v) + 1e-8);
      gradient[i] = 0;
    }
  }
}

export function shuffle(order: Uint32Array, uniform: () => number): void {
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
}
