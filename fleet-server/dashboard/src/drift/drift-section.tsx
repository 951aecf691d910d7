import type { DriftView } from '@skein/protocol/api.ts';
import { useState } from 'preact/hooks';
import { count, dateTime } from '../data/format.ts';
import { RelativeTime } from '../ui/relative-time.tsx';
import { Segments } from '../ui/segments.tsx';
import { VerdictBadge } from '../ui/verdict.tsx';
import { FeatureCard } from './feature-card.tsx';
import { byEvidence, featuresShown, type Show, verdictWords } from './verdict-words.ts';

const FIRST = 12;

/** One model's drift: the verdict in words, then its features as small multiples, strongest evidence first. */
export function DriftSection({ view }: { view: DriftView }) {
  const [show, setShow] = useState<Show>('level');
  const [all, setAll] = useState(false);
  const features = featuresShown(view.features, show).sort(byEvidence);
  return (
    <section class="stack" aria-labelledby={`drift-${view.model}-${view.version}`}>
      <div class="card stack">
        <header>
          <h2 id={`drift-${view.model}-${view.version}`}>
            {view.model}@{view.version}
          </h2>
          <VerdictBadge verdict={view.verdict} />
          <span class="small muted">
            {count(view.windows)} {view.windows === 1 ? 'window' : 'windows'}
            {view.from !== null && view.to !== null && (
              <span title={`${dateTime(view.from)} to ${dateTime(view.to)}`}>
                , newest <RelativeTime at={view.to} />
              </span>
            )}
          </span>
        </header>
        <p>{verdictWords(view)}</p>
      </div>
      {view.features.length > 0 && (
        <div class="toolbar card">
          <Segments<Show>
            label="Charts"
            value={show}
            onChoose={(next: Show) => setShow(next)}
            choices={[
              { value: 'level', text: 'Levels' },
              { value: 'diff', text: 'Changes' },
              { value: 'drift', text: 'Drifting' },
            ]}
          />
          <span class="legend end">
            <span>
              <i class="observed" />
              now
            </span>
            <span>
              <i class="reference" />
              reference
            </span>
          </span>
        </div>
      )}
      <div class="grid">
        {features.slice(0, all ? undefined : FIRST).map((feature) => (
          <FeatureCard key={feature.name} feature={feature} />
        ))}
      </div>
      {view.features.length > 0 && features.length === 0 && <p class="muted">No chart of this kind.</p>}
      {features.length > FIRST && (
        <p>
          <button type="button" class="button" onClick={() => setAll(!all)} aria-expanded={all}>
            {all ? 'Show fewer' : `Show all ${features.length}`}
          </button>
        </p>
      )}
    </section>
  );
}
