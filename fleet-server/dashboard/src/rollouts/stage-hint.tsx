import { stageSizes } from './draft.ts';

/** What the stages mean for the group as it is now. */
export function StageHint({ stages, devices }: { stages: string[]; devices: number }) {
  const sizes = stageSizes(stages, devices).filter(Number.isFinite);
  if (devices === 0 || sizes.length === 0) return <>Cumulative counts or percentages: 1, 10%, 100%.</>;
  return (
    <>
      Devices after each stage: {sizes.join(' → ')} of {devices}.
    </>
  );
}
