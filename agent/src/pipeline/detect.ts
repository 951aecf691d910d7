/**
 * A detector's outputs to boxes on the picture that was taken. Pure.
 * Decode (one class a box: its best) → score threshold → at most 4,096 candidates, best first → greedy suppression →
 * at most `maxDetections` → back through resize and letterbox, cut at the picture's edges.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { DetectPostprocess } from '@skein/protocol/manifest.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import { sigmoid, softmax } from './activations.ts';
import type { Placement } from './picture-tensor.ts';
import { outputNamed, tensorNumbers } from './tensor-numbers.ts';

/** In pixels of the source picture; without one, as the model counts. */
export interface Box {
  label: string;
  score: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Corners, in the coordinates of the model's output. */
export interface Candidate {
  left: number;
  top: number;
  right: number;
  bottom: number;
  score: number;
  /** Number of the class. */
  kind: number;
}

/** Suppression is quadratic in what is left; a detector with more than this above its threshold sees ghosts. */
const MAX_CANDIDATES = 4_096;

/** Values of one box, `at(i)` the i-th. */
interface Table {
  boxes: number;
  values: number;
  at(box: number, value: number): number;
}

const wrong = (name: string, dims: readonly number[], needs: string) =>
  new SkeinError('TENSOR_INVALID', `output \`${name}\` has shape [${dims.join(', ')}], ${needs}`, {
    fix: 'Check `order` and `values` of the detection against the model: `skein-model inspect` shows its shapes.',
  });

/** A leading axis of one picture is left away; [boxes] counts as [boxes, 1]. */
function tableOf(name: string, tensor: Tensor, order: DetectPostprocess['order']): Table {
  const dims = tensor.dims.length > 1 && tensor.dims[0] === 1 ? tensor.dims.slice(1) : [...tensor.dims];
  const [rows, columns = 1, ...more] = dims;
  if (rows === undefined || more.some((dim) => dim !== 1)) {
    throw wrong(name, tensor.dims, 'boxes of one picture are [1, boxes, values] or [1, values, boxes]');
  }
  const numbers = tensorNumbers(tensor);
  return order === 'rows'
    ? { boxes: rows, values: columns, at: (box, value) => numbers[box * columns + value]! }
    : { boxes: columns, values: rows, at: (box, value) => numbers[value * columns + box]! };
}

type Corners = Pick<Candidate, 'left' | 'top' | 'right' | 'bottom'>;

const CORNERS: Record<DetectPostprocess['box'], (a: number, b: number, c: number, d: number) => Corners> = {
  cxcywh: (x, y, w, h) => ({ left: x - w / 2, top: y - h / 2, right: x + w / 2, bottom: y + h / 2 }),
  xywh: (x, y, w, h) => ({ left: x, top: y, right: x + w, bottom: y + h }),
  xyxy: (left, top, right, bottom) => ({ left, top, right, bottom }),
  yxyx: (top, left, bottom, right) => ({ left, top, right, bottom }),
};

interface Scored {
  score: number;
  kind: number;
}

/** The best of `count` classes of one box, the background left out. */
function bestOf(post: DetectPostprocess, count: number, raw: (kind: number) => number): Scored {
  const { activation, background } = post;
  const shares =
    activation === 'softmax' ? softmax(Float64Array.from({ length: count }, (_, i) => raw(i))) : undefined;
  let kind = -1;
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < count; i++) {
    if (i === background) continue;
    const value = shares ? shares[i]! : raw(i);
    if (value > most) {
      most = value;
      kind = i;
    }
  }
  return { kind, score: activation === 'sigmoid' ? sigmoid(most) : most };
}

/** Says score and class of each box. */
type Scorer = (box: number) => Scored;

function scorerOf(post: DetectPostprocess, boxes: Table, outputs: Tensors): Scorer {
  const plain = (value: number): number => (post.activation === 'sigmoid' ? sigmoid(value) : value);
  switch (post.values) {
    case 'classes':
      return (box) => bestOf(post, boxes.values - 4, (kind) => boxes.at(box, 4 + kind));
    case 'objectness-classes':
      return (box) => {
        const { score, kind } = bestOf(post, boxes.values - 5, (i) => boxes.at(box, 5 + i));
        return { kind, score: score * plain(boxes.at(box, 4)) };
      };
    case 'score-class':
      return (box) => ({ score: plain(boxes.at(box, 4)), kind: Math.round(boxes.at(box, 5)) });
    case 'none':
      return separateScorer(post, boxes, outputs);
    default:
      return post.values satisfies never;
  }
}

function separateScorer(post: DetectPostprocess, boxes: Table, outputs: Tensors): Scorer {
  const named = (name: string): Table => {
    const tensor = outputNamed(outputs, name);
    const table = tableOf(name, tensor, post.order);
    if (table.boxes === boxes.boxes) return table;
    throw wrong(name, tensor.dims, `there are ${boxes.boxes} boxes`);
  };
  const scores = named(post.scores!);
  if (post.classes === undefined) {
    return (box) => bestOf(post, scores.values, (kind) => scores.at(box, kind));
  }
  const classes = named(post.classes);
  const plain = (value: number): number => (post.activation === 'sigmoid' ? sigmoid(value) : value);
  return (box) => ({ score: plain(scores.at(box, 0)), kind: Math.round(classes.at(box, 0)) });
}

const LEAST_VALUES = { classes: 5, 'objectness-classes': 6, 'score-class': 6, none: 4 };

/** All boxes above the score threshold, best first; equal scores in the model's order. @throws SkeinError TENSOR_INVALID */
export function candidatesOf(post: DetectPostprocess, outputs: Tensors): Candidate[] {
  const tensor = outputNamed(outputs, post.output);
  const table = tableOf(post.output, tensor, post.order);
  const least = LEAST_VALUES[post.values];
  if (table.values < least) {
    throw wrong(
      post.output,
      tensor.dims,
      `${post.order} of ${post.values} have at least ${least} values a box`,
    );
  }
  const scored = scorerOf(post, table, outputs);
  const corners = CORNERS[post.box];
  const found: Candidate[] = [];
  for (let box = 0; box < table.boxes; box++) {
    const { score, kind } = scored(box);
    if (!(score >= post.scoreThreshold) || kind < 0 || kind === post.background) continue;
    const place = corners(table.at(box, 0), table.at(box, 1), table.at(box, 2), table.at(box, 3));
    if (place.right > place.left && place.bottom > place.top) found.push({ ...place, score, kind });
  }
  return found.sort((a, b) => b.score - a.score).slice(0, MAX_CANDIDATES);
}

/** Area of the intersection over that of the union. */
export function overlap(a: Corners, b: Corners): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const area = (box: Corners): number => (box.right - box.left) * (box.bottom - box.top);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** Greedy non-maximum suppression. @param sorted best first */
export function suppressed(post: DetectPostprocess, sorted: readonly Candidate[]): Candidate[] {
  const kept: Candidate[] = [];
  for (const candidate of sorted) {
    if (kept.length >= post.maxDetections) break;
    const covered =
      post.suppress !== 'none' &&
      kept.some(
        (better) =>
          (post.suppress === 'all' || better.kind === candidate.kind) &&
          overlap(better, candidate) > post.iouThreshold,
      );
    if (!covered) kept.push(candidate);
  }
  return kept;
}

/** From the model's image to the source picture along one axis, cut at its edges. */
const onPicture = (value: number, offset: number, resized: number, source: number): number =>
  Math.min(source, Math.max(0, ((value - offset) * source) / resized));

function placed(post: DetectPostprocess, candidate: Candidate, place: Placement | undefined): Candidate {
  if (!place) return candidate;
  const [wide, high] = post.coordinates === 'normalised' ? [place.imageWidth, place.imageHeight] : [1, 1];
  const x = (value: number) => onPicture(value * wide, place.left, place.width, place.sourceWidth);
  const y = (value: number) => onPicture(value * high, place.top, place.height, place.sourceHeight);
  const { left, top, right, bottom } = candidate;
  return { ...candidate, left: x(left), top: y(top), right: x(right), bottom: y(bottom) };
}

/** Best first. @param place how the picture lay on the model's image. @throws SkeinError TENSOR_INVALID */
export function detect(post: DetectPostprocess, outputs: Tensors, place?: Placement): Box[] {
  return suppressed(post, candidatesOf(post, outputs))
    .map((candidate) => placed(post, candidate, place))
    .filter(({ left, top, right, bottom }) => right > left && bottom > top)
    .map(({ left, top, right, bottom, score, kind }) => ({
      label: post.labels[kind] ?? `class ${kind}`,
      score,
      x: left,
      y: top,
      width: right - left,
      height: bottom - top,
    }));
}
