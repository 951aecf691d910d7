import type { RolloutView } from '@skein/protocol/rollout.ts';
import { useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { putRollout } from '../data/store.ts';
import { Confirm } from '../ui/confirm.tsx';
import { type Action, actionsFor, WORDS } from './actions.ts';

/** The buttons that this state allows; each asks first and says what it will do. */
export function Steer({ rollout }: { rollout: RolloutView }) {
  const [asked, setAsked] = useState<Action>();
  const words = asked && WORDS[asked];
  return (
    <div class="actions">
      {actionsFor(rollout).map((action) => (
        <button type="button" key={action} class={buttonClass(action)} onClick={() => setAsked(action)}>
          {WORDS[action].verb}
        </button>
      ))}
      {asked && words && (
        <Confirm
          confirmation={{
            title: `${words.verb} this rollout?`,
            text: words.text(rollout),
            verb: words.verb,
            danger: words.danger,
            act: async () =>
              putRollout(await call('steerRollout', { params: { id: rollout.id, action: asked } })),
          }}
          onClose={() => setAsked(undefined)}
        />
      )}
    </div>
  );
}

function buttonClass(action: Action): string {
  if (WORDS[action].danger) return 'button danger';
  return action === 'approve' || action === 'resume' ? 'button primary' : 'button';
}
