/** What a model's output means, from a few options, where no postprocessing file says it. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Postprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import { meanSquaredError } from '../pipeline/postprocess.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';
import { sampleWidth } from './data/tensors-of.ts';
import type { Sample } from './pack-samples.ts';

export const POSTPROCESS_KINDS = ['classify', 'reconstruction', 'regress', 'raw'] as const;
export type PostprocessKind = (typeof POSTPROCESS_KINDS)[number];

export interface PostprocessOptions {
  kind?: PostprocessKind | undefined;
  /** Name of the output; the first when absent. */
  output?: string | undefined;
  labels?: readonly string[] | undefined;
  alarmLabels: readonly string[];
  softmax: boolean;
  topK?: number | undefined;
  /** Least score of a class, or the reconstruction score of an alarm. */
  threshold?: number | undefined;
  low?: number | undefined;
  high?: number | undefined;
}

/** @throws SkeinError MANIFEST_INVALID */
export function outputOf(outputs: readonly TensorSpec[], name: string | undefined): TensorSpec {
  const found = name === undefined ? outputs[0] : outputs.find((spec) => spec.name === name);
  if (found) return found;
  throw new SkeinError('MANIFEST_INVALID', `the model has no output \`${name}\``, {
    fix: `It has ${outputs.map((spec) => spec.name).join(', ')}.`,
  });
}

/** What the model's output is, when nobody says: its own input again, classes, or one number. */
export function kindOf(inputs: readonly TensorSpec[], output: TensorSpec): PostprocessKind {
  const width = sampleWidth(output);
  if (inputs.length === 1 && width === sampleWidth(inputs[0]!)) return 'reconstruction';
  return width === 1 ? 'regress' : 'classify';
}

function labelsOf(given: readonly string[] | undefined, count: number): string[] {
  if (!given) return Array.from({ length: count }, (_, i) => `class ${i}`);
  if (given.length === count) return [...given];
  throw new SkeinError('MANIFEST_INVALID', `${given.length} labels given, the model has ${count} classes`, {
    fix: 'Give one label for each class, in the order of the output.',
  });
}

const UNIT_QUANTILE = 0.999;

/** The reconstruction error that 99.9% of the samples stay below becomes score 1. @param outputs of the samples */
function unitOf(samples: readonly Sample[], outputs: readonly ArrayLike<number>[]): number {
  const errors = samples.map(({ input }, i) => meanSquaredError(outputs[i]!, input)).sort((a, b) => a - b);
  return errors[Math.min(errors.length - 1, Math.floor(UNIT_QUANTILE * errors.length))] || 1;
}

/** @param run gives the named output of each sample; asked only for a reconstruction. @throws SkeinError MANIFEST_INVALID */
export async function postprocessFrom(
  options: PostprocessOptions,
  inputs: readonly TensorSpec[],
  outputs: readonly TensorSpec[],
  samples: readonly Sample[],
  run: (output: string) => Promise<Parameters<typeof tensorNumbers>[0][]>,
): Promise<Postprocess> {
  const spec = outputOf(outputs, options.output);
  const kind = options.kind ?? kindOf(inputs, spec);
  const output = spec.name;
  const { threshold, topK } = options;
  switch (kind) {
    case 'raw':
      return { kind, output };
    case 'regress':
      return { kind, output, low: options.low ?? null, high: options.high ?? null };
    case 'reconstruction': {
      const unit = unitOf(samples, (await run(output)).map(tensorNumbers));
      return { kind, output, unit, threshold: threshold ?? 1 };
    }
    case 'classify': {
      const labels = labelsOf(options.labels, sampleWidth(spec));
      const more = { ...(topK ? { topK } : {}), ...(threshold === undefined ? {} : { threshold }) };
      return {
        kind,
        output,
        softmax: options.softmax,
        labels,
        alarmLabels: [...options.alarmLabels],
        ...more,
      };
    }
    default:
      return kind satisfies never;
  }
}
