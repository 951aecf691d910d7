/** When a record is too old, by a wall clock that may be wrong: only a steady one is believed. */
import type { Clock } from '@skein/protocol/ports.ts';
import { HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';

const JUMP: Millis = 10 * MINUTE;
/** A clock that jumped is believed after it has run steadily for so long. */
const STEADY_FOR: Millis = HOUR;

/** For a greatest age: what was committed before which time is too old. undefined: nothing is, or nobody can tell. */
export function ageJudge(clock: Clock): (maxAge: Millis | undefined) => Millis | undefined {
  let offset = clock.now() - clock.mono();
  let believedFrom = Number.NEGATIVE_INFINITY;
  return (maxAge) => {
    const [now, mono] = [clock.now(), clock.mono()];
    if (Math.abs(now - mono - offset) > JUMP) {
      offset = now - mono;
      believedFrom = mono + STEADY_FOR;
    }
    return maxAge === undefined || mono < believedFrom ? undefined : now - maxAge;
  };
}
