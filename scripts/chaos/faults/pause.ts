/** SIGSTOP: its sockets stay open and nobody is behind them. A new life goes on at once. */
import type { Strike } from '../plan.ts';
import { type Fault, lifeOf } from './fault.ts';

export const pause: Fault<Extract<Strike, { kind: 'pause' }>> = {
  async begin(field, { who }) {
    const life = lifeOf(field, who);
    life.signal('SIGSTOP');
    return () => life.signal('SIGCONT');
  },
};
