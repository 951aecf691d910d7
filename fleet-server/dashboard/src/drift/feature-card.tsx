import type { DriftView } from '@skein/protocol/api.ts';
import { count, figure, share } from '../data/format.ts';
import { VerdictBadge } from '../ui/verdict.tsx';
import { BOX, binRange, histogramShape } from './histogram.ts';

export type Feature = DriftView['features'][number];

const nameOf = (name: string): string =>
  name
    .replace(/:diff$/, ', change')
    .replace(/^output:/, 'output ')
    .replaceAll('_', ' ');

/** One feature: where its values used to lie, where they lie now, and what the test makes of it. */
export function FeatureCard({ feature }: { feature: Feature }) {
  const { edges } = feature;
  const shape = histogramShape(
    feature.reference,
    feature.observed,
    (i, expected, seen) =>
      `${binRange(edges, i, figure)}: ${share(seen)} now, ${share(expected)} in the reference`,
  );
  const name = nameOf(feature.name);
  return (
    <article class={feature.verdict === 'drift' ? 'card feature drifting' : 'card feature'}>
      <header>
        <h3>{name}</h3>
        <VerdictBadge verdict={feature.verdict} />
      </header>
      <div>
        <svg
          class="bars"
          viewBox={`0 0 ${BOX.width} ${BOX.height}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${name}: observed against reference, ${feature.n} values`}
        >
          {shape.bars.map((bar) => (
            <rect key={bar.x} class="observed" x={bar.x} y={bar.y} width={bar.width} height={bar.height}>
              <title>{bar.title}</title>
            </rect>
          ))}
          <path class="reference" d={shape.outline} />
          <path class="base" d={`M0 ${BOX.height}H${BOX.width}`} />
        </svg>
        {edges.length > 0 && (
          <div class="axis">
            <span>{figure(edges[0] ?? 0)}</span>
            <span>{figure(edges.at(-1) ?? 0)}</span>
          </div>
        )}
      </div>
      <Figures feature={feature} />
    </article>
  );
}

function Figures({ feature }: { feature: Feature }) {
  const smallest = feature.minimumDetectableShift;
  return (
    <dl>
      <div>
        <dt title="Standardised shift of the location, and of the spread">z place, spread</dt>
        <dd>
          {signed(feature.zLocation)}, {signed(feature.zScale)}
        </dd>
      </div>
      <div>
        <dt title="p of the calibrated omnibus test">p</dt>
        <dd>{probability(feature.p)}</dd>
      </div>
      <div>
        <dt title="Population stability index: an effect size, never the trigger">PSI</dt>
        <dd>{figure(feature.psi)}</dd>
      </div>
      <div>
        <dt>Values</dt>
        <dd>{count(feature.n)}</dd>
      </div>
      <div>
        <dt>Missing</dt>
        <dd>{count(feature.missing)}</dd>
      </div>
      <div>
        <dt title="A smaller shift of the mean than this, in σ of the reference, would go unseen in these windows">
          Detectable from
        </dt>
        <dd>{smallest === null ? 'no power' : `${figure(smallest)} σ`}</dd>
      </div>
    </dl>
  );
}

const signed = (n: number): string =>
  Number.isFinite(n) ? `${n < 0 ? '−' : '+'}${Math.abs(n).toFixed(1)}` : '–';
const probability = (p: number): string => (p < 0.0001 ? '< 0.0001' : p.toFixed(p < 0.01 ? 4 : 2));
