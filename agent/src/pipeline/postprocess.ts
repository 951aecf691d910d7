/** The model's outputs to one prediction, as the manifest says. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Postprocess } from '@skein/protocol/manifest.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';

export interface Outcome {
  label: string;
  score: number;
  alarm: 0 | 1;
  /** Values of the output charts of the drift profile, by chart name. */
  charts: Readonly<Record<string, number>>;
}

function numbersOf(tensor: Tensor | undefined, name: string): ArrayLike<number> {
  if (!tensor) throw new SkeinError('TENSOR_INVALID', `the model gave no output \`${name}\``);
  if (tensor.type === 'float16' || tensor.type === 'int64') {
    throw new SkeinError('TENSOR_INVALID', `output \`${name}\` has type ${tensor.type}, float32 is needed`);
  }
  return tensor.data as ArrayLike<number>;
}

/** Shifted by the largest value, so it can not overflow. */
export function softmax(values: ArrayLike<number>): Float64Array {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) top = Math.max(top, values[i]!);
  const powers = Float64Array.from(values, (value) => Math.exp(value - top));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

export function meanSquaredError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum / Math.max(1, a.length);
}

function classify(post: Extract<Postprocess, { kind: 'classify' }>, values: ArrayLike<number>): Outcome {
  const scores = post.softmax ? softmax(values) : values;
  const best = argmax(scores);
  const label = post.labels[best] ?? `class ${best}`;
  const score = scores[best] ?? Number.NaN;
  const alarm = post.alarmLabels.includes(label) ? 1 : 0;
  return { label, score, alarm, charts: { confidence: score, 'output:label': best } };
}

function regress(post: Extract<Postprocess, { kind: 'regress' }>, values: ArrayLike<number>): Outcome {
  const score = values[0] ?? Number.NaN;
  const low = post.low !== null && score < post.low;
  const high = post.high !== null && score > post.high;
  const label = low ? 'low' : high ? 'high' : 'normal';
  return { label, score, alarm: low || high ? 1 : 0, charts: { 'output:score': score } };
}

/** @param input the window that was fed, for reconstruction. @throws SkeinError TENSOR_INVALID */
export function postprocess(post: Postprocess, outputs: Tensors, input: Float32Array): Outcome {
  const values = numbersOf(outputs[post.output], post.output);
  switch (post.kind) {
    case 'classify':
      return classify(post, values);
    case 'regress':
      return regress(post, values);
    case 'reconstruction': {
      if (values.length !== input.length) {
        throw new SkeinError(
          'TENSOR_INVALID',
          `\`${post.output}\` has ${values.length} values, not ${input.length}`,
        );
      }
      const score = meanSquaredError(values, input) / post.unit;
      const alarm = score >= post.threshold ? 1 : 0;
      return { label: alarm ? 'unusual' : 'normal', score, alarm, charts: { 'output:score': score } };
    }
    default:
      return post satisfies never;
  }
}
