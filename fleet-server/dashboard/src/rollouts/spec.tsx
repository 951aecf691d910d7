import type { RolloutSpec } from '@skein/protocol/rollout.ts';
import { duration, share } from '../data/format.ts';

/** What the operator asked for. */
export function Spec({ spec }: { spec: RolloutSpec }) {
  const { probation } = spec;
  return (
    <section class="card" aria-labelledby="spec-title">
      <header>
        <h2 id="spec-title">Conditions</h2>
      </header>
      <dl class="pairs small">
        <dt>Model</dt>
        <dd>
          {spec.model}@{spec.version}
        </dd>
        <dt>Group</dt>
        <dd>{spec.group}</dd>
        <dt>Stages</dt>
        <dd>{spec.stages.join(' → ')}</dd>
        <dt>Soak</dt>
        <dd>{duration(spec.soakMs)} after a stage’s last commit</dd>
        <dt>Deadline</dt>
        <dd>
          {duration(spec.stageDeadlineMs)} a stage, then{' '}
          {spec.onInconclusive === 'hold' ? 'hold for a person' : 'advance'} when inconclusive
        </dd>
        <dt>Approval</dt>
        <dd>{spec.approval === 'none' ? 'not asked for' : 'by a person after each stage'}</dd>
        <dt>Failures</dt>
        <dd>{spec.maxFailures === 0 ? 'halts at the first' : `halts after more than ${spec.maxFailures}`}</dd>
        <dt>Probation</dt>
        <dd>
          at least {probation.minInferences} inferences and {duration(probation.minMs)}; at most{' '}
          {share(probation.maxErrorRate)} errors and {probation.maxLatencyRatio} × the old latency
        </dd>
        <dt>Fresh orders</dt>
        <dd>
          {spec.freshWithinMs === null
            ? 'not required'
            : `within ${duration(spec.freshWithinMs)} of activation`}
        </dd>
      </dl>
    </section>
  );
}
