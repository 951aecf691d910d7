/**
 * The order of arrival, kept for work that is done side by side: each takes a turn when it begins, and tells its result
 * when its turn comes. One that has nothing to tell only leaves. Memory: one entry for each under way. Pure.
 */
export interface Turn {
  /** Resolves when all before have left; undefined: they have. */
  comes(): Promise<void> | undefined;
  leave(): void;
}

interface Place extends Turn {
  left: boolean;
  call: (() => void) | undefined;
}

export class Turns {
  readonly #line: Place[] = [];

  get underWay(): number {
    return this.#line.length;
  }

  take(): Turn {
    const line = this.#line;
    const place: Place = {
      left: false,
      call: undefined,
      comes() {
        if (line[0] === place) return undefined;
        return new Promise((resolve) => {
          place.call = resolve;
        });
      },
      leave() {
        place.left = true;
        while (line[0]?.left) line.shift();
        line[0]?.call?.();
      },
    };
    line.push(place);
    return place;
  }
}
