/** Another time for one party: 1970, or a step from the right one. Monotonic time goes on. */
import { writeFileSync } from 'node:fs';
import { RIGHT_TIME } from '../linux-faketime.ts';
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

export const clock: Fault<Extract<Strike, { kind: 'clock' }>> = {
  async begin(field, { who, to }) {
    const set = (time: string): void => writeFileSync(field.clockOf(who), `${time}\n`);
    set(to);
    return () => set(RIGHT_TIME);
  },
};
