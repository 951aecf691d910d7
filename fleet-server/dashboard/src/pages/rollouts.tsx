import type { RolloutView } from '@skein/protocol/rollout.ts';
import { loadProblem, reload, rolloutList, rollouts } from '../data/store.ts';
import { doneOf } from '../rollouts/progress.ts';
import { RolloutBadge } from '../rollouts/state-badge.tsx';
import { Why } from '../rollouts/why.tsx';
import { hrefTo } from '../routes.ts';
import { Empty } from '../ui/empty.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

export function RolloutsPage() {
  return (
    <>
      <PageHead title="Rollouts">
        <span class="actions">
          <a class="button primary" href={hrefTo({ page: 'new-rollout' })}>
            New rollout
          </a>
        </span>
      </PageHead>
      {loadProblem.value && <Problem problem={loadProblem.value} retry={() => void reload()} />}
      {!rollouts.value && !loadProblem.value && <p class="loading">Loading rollouts…</p>}
      {rollouts.value?.size === 0 && (
        <Empty
          title="No rollout has been started yet"
          steps={[
            {
              say: 'Start one here with “New rollout”, or in a terminal:',
              command: 'npx skein rollouts create --model NAME@VERSION --group all --stages 1,100%',
            },
          ]}
        >
          <p>
            A rollout brings a published model to a group of devices, stage by stage, and stops when it does
            harm.
          </p>
        </Empty>
      )}
      {rolloutList.value.length > 0 && (
        <section class="card flush" aria-label="Rollouts, newest first">
          <table class="table cards">
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">State</th>
                <th scope="col">Group</th>
                <th scope="col" class="number">
                  Updated
                </th>
                <th scope="col">Why</th>
                <th scope="col">Started</th>
              </tr>
            </thead>
            <tbody>
              {rolloutList.value.map((rollout) => (
                <Row key={rollout.id} rollout={rollout} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}

function Row({ rollout }: { rollout: RolloutView }) {
  const { done, total } = doneOf(rollout);
  return (
    <tr>
      <td class="full">
        <span class="who">
          <a href={hrefTo({ page: 'rollout', id: rollout.id })}>
            {rollout.spec.model}@{rollout.spec.version}
          </a>
        </span>
      </td>
      <td data-label="State">
        <RolloutBadge state={rollout.state} />
      </td>
      <td data-label="Group">{rollout.spec.group}</td>
      <td data-label="Updated" class="number">
        {done} of {total}
      </td>
      <td data-label="Why" class="full">
        <Why text={rollout.why} />
      </td>
      <td data-label="Started">
        <RelativeTime at={rollout.createdAt} />
      </td>
    </tr>
  );
}
