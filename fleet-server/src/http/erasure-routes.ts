/** Erasing devices, and the proofs of it. */
import type { Erasures } from '../erasure/port.ts';
import type { Handlers } from './handlers.ts';

export function erasureRoutes(erasures: Erasures): Handlers {
  return {
    planErasure: ({ params }) => erasures.plan(params.id!),
    eraseDevice: ({ params, actor }) => erasures.begin(params.id!, actor.name),
    listErasures: async () => ({ items: await erasures.list(), next: null }),
    showErasure: ({ params }) => erasures.show(params.pseudonym!),
  };
}
