/**
 * Two machines with one identity: they push each other off the broker, so their boots alternate. An agent's boot id
 * is random per start and never comes back, so a boot that returns after another one means two agents.
 * Remembers the last {@link KEPT} boots of a device since the server started.
 */
import type { Millis } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

const KEPT = 8;

export interface CloneWatch {
  /** True when this boot was left for another one before. */
  returned(boot: string): boolean;
  /** Writes the incident down once; later calls change nothing. */
  report(store: Store, device: string, boot: string, at: Millis): Promise<void>;
}

export function createCloneWatch(): CloneWatch {
  let boots: string[] = [];
  return {
    returned(boot) {
      if (boots.at(-1) === boot) return false;
      const before = boots.includes(boot);
      boots = [...boots.filter((other) => other !== boot), boot].slice(-KEPT);
      return before;
    },
    async report(store, device, boot, at) {
      await store
        .insertInto('incidents')
        .values({
          id: 'identity-cloned',
          device,
          code: 'IDENTITY_CLONED',
          severity: 'critical',
          start_time: at,
          end_time: null,
          source: null,
          detail: `boot ${boot} came back after another: two agents use this identity`,
        })
        .onConflict((c) => c.columns(['device', 'id']).doNothing())
        .execute();
    },
  };
}
