/** Spoils the link between one device and this machine, in the kernel: see {@link LinkWeather}. */
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

export const network: Fault<Extract<Strike, { kind: 'network' }>> = {
  async begin(field, { who, weather }) {
    return field.networks.get(who)!.spoil(weather);
  },
};
