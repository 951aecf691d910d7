/** Downloads under way on this device, one a blob: whoever wants the same blob waits for it, or reads along. */
import type { Bytes, Sha256Hex } from '@skein/protocol/units.ts';

export class Flight {
  readonly size: Bytes;
  /** Bytes that are on the disk; not hashed yet. */
  offset: Bytes = 0;
  over = false;
  #wake: (() => void)[] = [];

  constructor(size: Bytes) {
    this.size = size;
  }

  /** Resolves at the next progress, or at once when it is over. */
  changed(): Promise<void> {
    return this.over ? Promise.resolve() : new Promise((done) => void this.#wake.push(done));
  }

  advance(offset: Bytes): void {
    this.offset = offset;
    for (const wake of this.#wake.splice(0)) wake();
  }

  end(): void {
    this.over = true;
    this.advance(this.offset);
  }
}

export class Flights {
  readonly #under = new Map<Sha256Hex, Flight>();

  of(sha256: Sha256Hex): Flight | undefined {
    return this.#under.get(sha256);
  }

  names(): Sha256Hex[] {
    return [...this.#under.keys()];
  }

  /** @param work the one writer of this blob; nobody else begins before it is over. */
  async run<T>(sha256: Sha256Hex, size: Bytes, work: (flight: Flight) => Promise<T>): Promise<T> {
    const flight = new Flight(size);
    this.#under.set(sha256, flight);
    try {
      return await work(flight);
    } finally {
      this.#under.delete(sha256);
      flight.end();
    }
  }
}
