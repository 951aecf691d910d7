/**
 * Which predictions are recorded, decided before they are: what is not kept gets no number, but it is counted, and every
 * batch says how many results its records were kept of.
 *
 * An alarm is kept under every rule. `every` and `share` count per model and source, so that the shares of several
 * sources stay what they are; a figure over what is no alarm is scaled by observed and kept.
 */
import type { Entropy } from '@skein/protocol/ports.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';

export const KEEPS = ['all', 'every', 'share', 'notable'] as const;

export interface SamplingRule {
  keep: (typeof KEEPS)[number];
  every?: number | undefined;
  share?: number | undefined;
  /** Scores. */
  below?: number | undefined;
  atLeast?: Millis | undefined;
}

/** Of one source and model. */
interface Memory {
  /** Since the last one that was kept by count. */
  passed: number;
  /** Label and alarm of the latest, kept or not. */
  latest: string | undefined;
  keptMono: Millis;
}

export type Sampler = (record: PredictionRecord) => boolean;

/** @param rules by model; a model without one is kept whole. Sources and models are configured, so they are few. */
export function createSampler(rules: Readonly<Record<string, SamplingRule>>, entropy: Entropy): Sampler {
  const memories = new Map<string, Memory>();
  return (record) => {
    const rule = Object.hasOwn(rules, record.model) ? rules[record.model]! : undefined;
    if (rule === undefined || rule.keep === 'all') return true;
    const who = `${record.source}/${record.model}`;
    const memory = memories.get(who) ?? { passed: Infinity, latest: undefined, keptMono: -Infinity };
    memories.set(who, memory);
    return decide(rule, memory, record, entropy);
  };
}

function decide(rule: SamplingRule, memory: Memory, record: PredictionRecord, entropy: Entropy): boolean {
  const now = `${record.alarm} ${record.label}`;
  const changed = memory.latest !== now;
  memory.latest = now;
  const chosen = isChosen(rule, memory, record, { changed, entropy });
  const kept = chosen || record.alarm === 1;
  if (kept) memory.keptMono = record.mono;
  return kept;
}

function isChosen(
  rule: SamplingRule,
  memory: Memory,
  { mono, score }: PredictionRecord,
  { changed, entropy }: { changed: boolean; entropy: Entropy },
): boolean {
  switch (rule.keep) {
    case 'all':
      return true;
    case 'every':
      memory.passed = memory.passed + 1 >= (rule.every ?? 1) ? 0 : memory.passed + 1;
      return memory.passed === 0;
    case 'share':
      return chance(entropy) < (rule.share ?? 1);
    case 'notable':
      return (
        changed || score < (rule.below ?? -Infinity) || mono - memory.keptMono >= (rule.atLeast ?? Infinity)
      );
    default:
      return rule.keep satisfies never;
  }
}

/** [0, 1), of 32 bits. */
function chance(entropy: Entropy): number {
  const bytes = entropy.bytes(4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 2 ** 32;
}
