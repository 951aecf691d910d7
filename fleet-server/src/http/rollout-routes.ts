/** Rollouts over HTTP: what a person asks for is checked against models and devices before the machine sees it. */
import { randomBytes } from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';
import { STEER_ACTIONS, type SteerAction } from '../rollouts/rollout.ts';
import type { RolloutRunner } from '../rollouts/run-rollouts.ts';
import { candidatesOf, variantsOf } from '../rollouts/sqlite-rollouts.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';

export interface RolloutRouteDeps {
  store: Store;
  rollouts: RolloutRunner;
}

const LIST_MAX = 200;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567';

/** `r-` and ten letters: 50 random bits. */
const newRolloutId = (): string => `r-${[...randomBytes(10)].map((byte) => LETTERS[byte % 32]).join('')}`;

export function rolloutRoutes({ store, rollouts }: RolloutRouteDeps): Handlers {
  return {
    async createRollout({ body }) {
      const variants = await variantsOf(store, body.model, body.version);
      const candidates = await candidatesOf(store, body.group, body.model);
      return rollouts.create(newRolloutId(), body, variants, candidates);
    },
    async listRollouts() {
      return { items: await rollouts.list(LIST_MAX), next: null };
    },
    showRollout: ({ params }) => rollouts.show(params.id!),
    async steerRollout({ params }) {
      const action = STEER_ACTIONS.find((known) => known === params.action);
      if (action) return rollouts.steer(params.id!, action satisfies SteerAction);
      throw new SkeinError('NOT_FOUND', `a rollout knows no action ${params.action}`, {
        fix: `Use one of ${STEER_ACTIONS.join(', ')}.`,
      });
    },
  };
}
