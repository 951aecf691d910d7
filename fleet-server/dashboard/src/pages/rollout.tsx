import { useEffect, useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { dateTime } from '../data/format.ts';
import { asProblem, type ProblemError } from '../data/problem.ts';
import { putRollout, rollouts } from '../data/store.ts';
import { Spec } from '../rollouts/spec.tsx';
import { StageBars } from '../rollouts/stage-bars.tsx';
import { RolloutBadge } from '../rollouts/state-badge.tsx';
import { Steer } from '../rollouts/steer.tsx';
import { Targets } from '../rollouts/targets.tsx';
import { Why } from '../rollouts/why.tsx';
import { hrefTo } from '../routes.ts';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

/** Lives from the event stream; asked for once, so that a rollout beyond the list is found too. */
export function RolloutPage({ id }: { id: string }) {
  const [problem, setProblem] = useState<ProblemError>();
  useEffect(() => {
    call('showRollout', { params: { id } }).then(putRollout, (thrown) => setProblem(asProblem(thrown)));
  }, [id]);
  const rollout = rollouts.value?.get(id);
  const crumb = <a href={hrefTo({ page: 'rollouts' })}>Rollouts</a>;
  if (!rollout)
    return (
      <>
        <PageHead title="Rollout" crumb={crumb} />
        {problem ? <Problem problem={problem} /> : <p class="loading">Loading the rollout…</p>}
      </>
    );
  return (
    <>
      <PageHead title={`${rollout.spec.model}@${rollout.spec.version} → ${rollout.spec.group}`} crumb={crumb}>
        <RolloutBadge state={rollout.state} />
        <Steer rollout={rollout} />
      </PageHead>
      <section class="card stack" aria-labelledby="progress-title">
        <header>
          <h2 id="progress-title">Progress</h2>
          <span class="small muted" title={dateTime(rollout.createdAt)}>
            started <RelativeTime at={rollout.createdAt} />, changed <RelativeTime at={rollout.updatedAt} />
          </span>
        </header>
        <p aria-live="polite">
          <Why text={rollout.why} />
        </p>
        <StageBars rollout={rollout} />
      </section>
      <Targets targets={rollout.targets} />
      <Spec spec={rollout.spec} />
    </>
  );
}
