import type { RolloutView } from '@skein/protocol/rollout.ts';
import { PARTS, type StageProgress, stagesOf } from './progress.ts';

const WORDS = {
  committed: 'committed',
  unproven: 'unproven',
  busy: 'updating',
  failed: 'failed',
  out: 'cancelled or unconfirmed',
};

/** One bar a stage. Widths carry the counts, and the counts stand beside as text. */
export function StageBars({ rollout }: { rollout: RolloutView }) {
  return (
    <ol class="stages">
      {stagesOf(rollout).map((stage) => (
        <li
          key={stage.stage}
          class={stage.now ? 'stage now' : 'stage'}
          aria-current={stage.now ? 'step' : undefined}
        >
          <span class="stage-name">
            {stage.name === 'control' ? 'Control cohort' : `Stage ${stage.stage + 1} · ${stage.name}`}
          </span>
          <span class="bar" aria-hidden="true">
            {PARTS.map((part) => (
              <i
                key={part}
                class={part}
                style={{ width: `${(100 * stage.parts[part]) / (stage.total || 1)}%` }}
              />
            ))}
          </span>
          <span class="small">{wordsOf(stage)}</span>
        </li>
      ))}
    </ol>
  );
}

function wordsOf(stage: StageProgress): string {
  if (stage.total === 0) return 'no devices';
  const rest = PARTS.filter((part) => part !== 'committed' && stage.parts[part] > 0).map(
    (part) => `${stage.parts[part]} ${WORDS[part]}`,
  );
  return [`${stage.parts.committed} of ${stage.total} committed`, ...rest].join(', ');
}
