/** Spoils one route: see {@link Weather}. */
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

export const partition: Fault<Extract<Strike, { kind: 'partition' }>> = {
  async begin(field, { route: name, weather }) {
    const route = field.routes.get(name)!;
    route.weather = weather;
    return () => {
      route.weather = 'clear';
    };
  },
};
