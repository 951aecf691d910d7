/**
 * Two machines with one identity: they push each other off the broker, so their boots alternate. An agent's boot id
 * is random per start and never comes back, so a boot that returns after another one means two agents.
 * Remembers the last {@link KEPT} boots of a device since the server started.
 */
import type { Incident } from '@skein/protocol/messages.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Store } from '../store/sqlite-store.ts';

const KEPT = 8;
/** Of the one incident that there is of a device. */
export const CLONE_ID = 'identity-cloned';

export interface CloneWatch {
  /** True when this boot was left for another one before. */
  returned(boot: string): boolean;
  /** Writes the incident down once; later calls change nothing. @returns what was written, for who watches */
  report(store: Store, device: string, boot: string, at: Millis): Promise<Incident | undefined>;
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
      const incident = {
        code: 'IDENTITY_CLONED',
        severity: 'critical',
        start_time: at,
        end_time: null,
        detail: `boot ${boot} came back after another: two agents use this identity`,
      } as const;
      const { numInsertedOrUpdatedRows } = await store
        .insertInto('incidents')
        .values({ ...incident, id: CLONE_ID, device, source: null })
        .onConflict((c) => c.columns(['device', 'id']).doNothing())
        .executeTakeFirst();
      return numInsertedOrUpdatedRows ? incident : undefined;
    },
  };
}
