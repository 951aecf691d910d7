/** In the broker's place stands one that lies: see {@link file://./../aedes-hostile.ts}. */
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

export const hostileBroker: Fault<Extract<Strike, { kind: 'hostile-broker' }>> = {
  async begin(field, { seed }) {
    const hostile = await field.openHostile(seed);
    return () => hostile.close();
  },
};
