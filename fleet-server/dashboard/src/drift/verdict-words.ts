/** What a drift verdict means, in a sentence; which charts are shown, and in which order. Pure. */
import type { DriftView } from '@skein/protocol/api.ts';

type Feature = DriftView['features'][number];
export type Show = 'level' | 'diff' | 'drift';

export function featuresShown(features: readonly Feature[], show: Show): Feature[] {
  return features.filter((feature) => {
    if (show === 'drift') return feature.verdict === 'drift';
    return feature.name.endsWith(':diff') === (show === 'diff');
  });
}

const weight = { drift: 0, calm: 1, 'not-enough-data': 2 } as const;
export const byEvidence = (a: Feature, b: Feature): number =>
  weight[a.verdict] - weight[b.verdict] || a.p - b.p || a.name.localeCompare(b.name);

export function verdictWords(view: DriftView): string {
  const drifting = view.features.filter((feature) => feature.verdict === 'drift').length;
  const where = view.device === null ? 'in the fleet' : 'on this device';
  switch (view.verdict) {
    case 'drift':
      return drifting === 0
        ? `Inputs or outputs ${where} no longer look like the reference, though no single chart is beyond its own limit.`
        : `${drifting} of ${view.features.length} charts ${where} no longer look like the reference. One device alone points to its sensor; many devices mean the world has changed.`;
    case 'calm':
      return `All charts ${where} look like the reference. Shifts smaller than each chart’s “detectable from” would not be seen.`;
    case 'not-enough-data':
      return `Not enough data to judge ${where}: this is not a pass. Windows are counted as predictions come in; leave it running.`;
  }
}
