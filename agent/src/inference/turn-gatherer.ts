/**
 * When a model that holds the caller's thread runs: at once while requests come alone, at the end of the turn of the
 * event loop once they come together, so that a turn's requests share one run. Whoever waits alone for an answer should
 * not pay for company that does not come. Two starts in one turn are company; {@link ALONE_LIMIT} runs of one request in a
 * row are none, and so many turns with one start: then only every {@link WATCH_EVERY}th start has its turn watched, because a
 * task for the end of each turn costs a small model's caller as much as a fifth of its run. At most so many runs of a turn
 * are at once: a caller that awaits answer after answer must not hold up the loop.
 */

/** @param task takes what waits and @returns how many requests it took */
export type Gather = (task: () => number) => void;

const ALONE_LIMIT = 64;
const WATCH_EVERY = 4;

/** @param later runs a task at the end of this turn of the event loop. */
export function turnGatherer(later: (task: () => void) => void): Gather {
  let gathering = false;
  let aloneInARow = 0;
  /** Of a turn that is watched. */
  let startsInTurn = 0;
  let lonelyTurns = 0;
  let unwatched = 0;

  const endTurn = (): void => {
    if (startsInTurn > 1) gathering = true;
    lonelyTurns = startsInTurn > 1 ? 0 : lonelyTurns + 1;
    startsInTurn = 0;
  };
  const goesUnwatched = (): boolean => {
    if (lonelyTurns < ALONE_LIMIT) return false;
    unwatched = (unwatched + 1) % WATCH_EVERY;
    return unwatched > 0;
  };
  const gathered = (task: () => number): void => {
    aloneInARow = task() > 1 ? 0 : aloneInARow + 1;
    if (aloneInARow < ALONE_LIMIT) return;
    gathering = false;
    aloneInARow = 0;
  };
  return (task) => {
    if (gathering || startsInTurn > 0) {
      if (!gathering) startsInTurn++;
      return later(() => gathered(task));
    }
    if (!goesUnwatched()) {
      startsInTurn = 1;
      later(endTurn);
    }
    task();
  };
}
