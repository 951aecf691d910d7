/** The model's outputs to one prediction, as the manifest says. Pure. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { ClassifyPostprocess, DetectPostprocess, Postprocess } from '@skein/protocol/manifest.ts';
import type { Tensors } from '../inference/backend.ts';
import { argmax, softmax } from './activations.ts';
import { type Box, detect } from './detect.ts';
import type { Placement } from './picture-tensor.ts';
import { outputNamed, tensorNumbers } from './tensor-numbers.ts';

export { argmax, softmax };

export interface Ranked {
  label: string;
  score: number;
}

export interface Outcome {
  label: string;
  score: number;
  alarm: 0 | 1;
  /** Values of the output charts of the drift profile, by chart name. */
  charts: Readonly<Record<string, number>>;
  /** The best classes, when the manifest asks for more than one. */
  top?: readonly Ranked[];
  /** Everything a detector found, best first; in pixels of the source picture. */
  boxes?: readonly Box[];
}

export function meanSquaredError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum / Math.max(1, a.length);
}

const UNKNOWN = 'unknown';
const labelOf = (labels: readonly string[], i: number): string => labels[i] ?? `class ${i}`;

/** Best first, equal ones in the model's order; k is at most 16, so k passes are cheap. */
function topOf(labels: readonly string[], scores: ArrayLike<number>, k: number): Ranked[] {
  const taken = new Set<number>();
  while (taken.size < Math.min(k, scores.length)) {
    let best = -1;
    for (let i = 0; i < scores.length; i++) {
      if (!taken.has(i) && (best < 0 || scores[i]! > scores[best]!)) best = i;
    }
    taken.add(best);
  }
  return [...taken].map((i) => ({ label: labelOf(labels, i), score: scores[i]! }));
}

function classify(post: ClassifyPostprocess, values: ArrayLike<number>): Outcome {
  const scores = post.softmax ? softmax(values) : values;
  const best = argmax(scores);
  const score = scores[best] ?? Number.NaN;
  const known = post.threshold === undefined || score >= post.threshold;
  const label = known ? labelOf(post.labels, best) : (post.unknownLabel ?? UNKNOWN);
  const alarm = known && post.alarmLabels.includes(label) ? 1 : 0;
  const charts = { confidence: score, 'output:label': best };
  if (post.topK === undefined || post.topK < 2) return { label, score, alarm, charts };
  return { label, score, alarm, charts, top: topOf(post.labels, scores, post.topK) };
}

function regress(post: Extract<Postprocess, { kind: 'regress' }>, values: ArrayLike<number>): Outcome {
  const score = values[0] ?? Number.NaN;
  const low = post.low !== null && score < post.low;
  const high = post.high !== null && score > post.high;
  const label = low ? 'low' : high ? 'high' : 'normal';
  return { label, score, alarm: low || high ? 1 : 0, charts: { 'output:score': score } };
}

function reconstruct(
  post: Extract<Postprocess, { kind: 'reconstruction' }>,
  values: ArrayLike<number>,
  input: ArrayLike<number>,
): Outcome {
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

/** The label of a picture in which nothing was found. */
export const NOTHING = 'nothing';

function found(post: DetectPostprocess, outputs: Tensors, place: Placement | undefined): Outcome {
  const boxes = detect(post, outputs, place);
  const { label, score } = boxes[0] ?? { label: NOTHING, score: 0 };
  const alarm = boxes.some((box) => post.alarmLabels.includes(box.label)) ? 1 : 0;
  return { label, score, alarm, charts: { confidence: score, 'output:count': boxes.length }, boxes };
}

/**
 * @param input the values that were fed, for reconstruction
 * @param place how the picture lay on the model's image, for boxes
 * @throws SkeinError TENSOR_INVALID
 */
export function postprocess(
  post: Postprocess,
  outputs: Tensors,
  input: ArrayLike<number>,
  place?: Placement,
): Outcome {
  if (post.kind === 'detect') return found(post, outputs, place);
  const values = tensorNumbers(outputNamed(outputs, post.output));
  switch (post.kind) {
    case 'classify':
      return classify(post, values);
    case 'regress':
      return regress(post, values);
    case 'reconstruction':
      return reconstruct(post, values, input);
    case 'raw': {
      const score = values[0] ?? Number.NaN;
      return { label: 'raw', score, alarm: 0, charts: { 'output:score': score } };
    }
    default:
      return post satisfies never;
  }
}
