/** SIGKILL at any moment, and once more while the next life begins. */
import type { Strike } from '../plan.ts';
import { type Fault, lifeOf } from './fault.ts';

export const kill: Fault<Extract<Strike, { kind: 'kill' }>> = {
  async begin(field, { who, again }) {
    await field.hear(who);
    const life = lifeOf(field, who);
    await life.kill();
    life.start();
    if (again === null) return undefined;
    await new Promise((wake) => setTimeout(wake, again));
    await life.kill();
    life.start();
    return undefined;
  },
};
