/** A network between devices and one server: requests and answers are lost, late, repeated, or cut off for long. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Chance } from './seeded.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface NetworkWeather {
  loss: number;
  duplication: number;
  delayMs: readonly [Millis, Millis];
}

const TIMEOUT_MS: Millis = 10_000;

export class SimNetwork {
  readonly #time: VirtualTime;
  readonly #chance: Chance;
  readonly #cut = new Set<string>();
  weather: NetworkWeather;
  serverUp = true;
  /** Messages that did not arrive. */
  lost = 0;
  repeated = 0;

  constructor(time: VirtualTime, chance: Chance, weather: NetworkWeather) {
    this.#time = time;
    this.#chance = chance;
    this.weather = weather;
  }

  cut(device: string): void {
    this.#cut.add(device);
  }

  heal(device: string): void {
    this.#cut.delete(device);
  }

  isCut(device: string): boolean {
    return this.#cut.has(device);
  }

  /** A request that the server may see never, once or twice, and whose answer may not come back. @throws SkeinError UNREACHABLE */
  call<T>(device: string, serve: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timeout = this.#time.after(TIMEOUT_MS, () => {
        reject(new SkeinError('UNREACHABLE', `no answer for ${device}`));
      });
      const answered = (act: () => void) =>
        this.send(device, () => {
          timeout.cancel();
          act();
        });
      this.send(device, () => {
        Promise.resolve()
          .then(serve)
          .then(
            (value) => answered(() => resolve(value)),
            (error) => answered(() => reject(error)),
          );
      });
    });
  }

  /** One message either way, with no promise that it arrives once. */
  send(device: string, arrive: () => void): void {
    const copies = this.#chance.is(this.weather.duplication) ? 2 : 1;
    this.repeated += copies - 1;
    for (let i = 0; i < copies; i++) {
      if (this.#chance.is(this.weather.loss)) {
        this.lost++;
        continue;
      }
      this.#time.after(this.#chance.between(...this.weather.delayMs), () => {
        if (this.serverUp && !this.#cut.has(device)) arrive();
        else this.lost++;
      });
    }
  }
}
