import type { Clock } from '@skein/protocol/ports.ts';
import { driftViews } from '../fleet/drift.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';

export const driftRoutes = (store: Store, clock: Clock): Handlers => ({
  drift: async ({ query }) => ({ items: await driftViews(store, clock, query) }),
});
