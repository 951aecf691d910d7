import type { Tensor, Tensors } from '@skein/agent/inference/backend.ts';
import { type Candidate, candidatesOf, detect, overlap, suppressed } from '@skein/agent/pipeline/detect.ts';
import { type Placement, placementOf } from '@skein/agent/pipeline/picture-tensor.ts';
import { postprocess } from '@skein/agent/pipeline/postprocess.ts';
import type { DetectPostprocess } from '@skein/protocol/manifest-pipeline.ts';
import { describe, expect, it } from 'vitest';

const base: DetectPostprocess = {
  kind: 'detect',
  output: 'boxes',
  order: 'columns',
  box: 'cxcywh',
  coordinates: 'pixels',
  values: 'classes',
  activation: 'none',
  labels: ['cat', 'dog', 'owl'],
  alarmLabels: ['owl'],
  scoreThreshold: 0.25,
  iouThreshold: 0.45,
  suppress: 'per-class',
  maxDetections: 100,
};
const float = (dims: number[], data: ArrayLike<number>): Tensor => ({
  type: 'float32',
  dims,
  data: Float32Array.from(data),
});

/** mulberry32 */
const chance = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

/** What a box is meant to be, written into each layout below. */
interface Meant {
  left: number;
  top: number;
  right: number;
  bottom: number;
  scores: number[];
}

const meant = (next: () => number, count: number, classes: number): Meant[] =>
  Array.from({ length: count }, () => {
    const [left, top] = [next() * 500, next() * 500];
    const [right, bottom] = [left + 5 + next() * 120, top + 5 + next() * 120];
    return { left, top, right, bottom, scores: Array.from({ length: classes }, next) };
  });

const rows = (all: Meant[], of: (box: Meant) => number[]): number[][] => all.map(of);
const turned = (table: number[][]): number[] => table[0]!.flatMap((_, c) => table.map((row) => row[c]!));
const centred = ({ left, top, right, bottom }: Meant) => [
  (left + right) / 2,
  (top + bottom) / 2,
  right - left,
  bottom - top,
];

/** The same boxes in each layout that the manifest knows. */
const LAYOUTS: Record<string, (all: Meant[]) => [DetectPostprocess, Tensors]> = {
  'YOLOv8 [1, 4 + C, boxes]': (all) => {
    const table = rows(all, (box) => [...centred(box), ...box.scores]);
    return [base, { boxes: float([1, table[0]!.length, all.length], turned(table)) }];
  },
  'YOLOv5 [1, boxes, 5 + C] with objectness': (all) => {
    const table = rows(all, (box) => [...centred(box), 0.5, ...box.scores.map((score) => score * 2)]);
    const post = { ...base, order: 'rows', values: 'objectness-classes' } as const;
    return [post, { boxes: float([1, all.length, table[0]!.length], table.flat()) }];
  },
  'SSD boxes [1, boxes, 4] and scores [1, boxes, C] with a background': (all) => [
    {
      ...base,
      ...{ order: 'rows', box: 'yxyx', values: 'none', scores: 'scores', background: 0 },
      labels: ['background', ...base.labels],
    },
    {
      boxes: float([1, all.length, 4], rows(all, (b) => [b.top, b.left, b.bottom, b.right]).flat()),
      scores: float([1, all.length, 4], rows(all, (b) => [2, ...b.scores]).flat()),
    },
  ],
  'boxes, scores and classes apart': (all) => [
    { ...base, order: 'rows', box: 'xyxy', values: 'none', scores: 'scores', classes: 'classes' },
    {
      boxes: float([1, all.length, 4], rows(all, (b) => [b.left, b.top, b.right, b.bottom]).flat()),
      scores: float(
        [1, all.length],
        all.map(({ scores }) => Math.max(...scores)),
      ),
      classes: {
        type: 'int64',
        dims: [1, all.length],
        data: BigInt64Array.from(all, ({ scores }) => BigInt(scores.indexOf(Math.max(...scores)))),
      },
    },
  ],
  'xywh rows with score and class, without an axis for the picture': (all) => {
    const of = (b: Meant) => {
      const most = Math.max(...b.scores);
      return [b.left, b.top, b.right - b.left, b.bottom - b.top, most, b.scores.indexOf(most)];
    };
    const post = { ...base, order: 'rows', box: 'xywh', values: 'score-class' } as const;
    return [post, { boxes: float([all.length, 6], rows(all, of).flat()) }];
  },
};

/** Written anew: marks what is removed, pair by pair, over all pairs. */
function bruteForce(all: Meant[], post: DetectPostprocess): { kind: number; score: number; at: number }[] {
  const scored = all
    .map(({ scores }, at) => ({ at, score: Math.max(...scores), kind: scores.indexOf(Math.max(...scores)) }))
    .filter(({ score }) => score >= post.scoreThreshold)
    .sort((a, b) => b.score - a.score || a.at - b.at);
  const gone = new Set<number>();
  scored.forEach((better, i) => {
    if (gone.has(better.at)) return;
    for (const other of scored.slice(i + 1)) {
      if (post.suppress === 'per-class' && other.kind !== better.kind) continue;
      const [a, b] = [all[better.at]!, all[other.at]!];
      const wide = Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left));
      const high = Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
      const size = (box: Meant) => (box.right - box.left) * (box.bottom - box.top);
      if ((wide * high) / (size(a) + size(b) - wide * high) > post.iouThreshold) gone.add(other.at);
    }
  });
  return scored.filter(({ at }) => !gone.has(at)).slice(0, post.maxDetections);
}

describe('a detector', () => {
  for (const [name, layout] of Object.entries(LAYOUTS)) {
    it.each([1, 2, 3, 4, 5, 6])(`in ${name} gives what brute force gives (seed %i)`, (seed) => {
      const next = chance(seed);
      const all = meant(next, 1 + Math.floor(next() * 120), 3);
      const [post, outputs] = layout(all);
      const suppress = seed % 2 ? 'per-class' : 'all';
      const found = detect({ ...post, suppress, maxDetections: 40 }, outputs);
      const expected = bruteForce(all, { ...base, suppress, maxDetections: 40 });
      expect(found.map(({ label }) => label)).toEqual(expected.map(({ kind }) => base.labels[kind]));
      for (const [i, { at, score }] of expected.entries()) {
        expect(found[i]!.score).toBeCloseTo(score, 5);
        expect(found[i]!.x).toBeCloseTo(all[at]!.left, 2);
        expect(found[i]!.y + found[i]!.height).toBeCloseTo(all[at]!.bottom, 2);
      }
    });
  }

  it('keeps every box when the model has suppressed them itself, up to the most', () => {
    const all = Array.from({ length: 9 }, () => ({
      left: 0,
      top: 0,
      right: 9,
      bottom: 9,
      scores: [0.9, 0, 0],
    }));
    const [post, outputs] = LAYOUTS['YOLOv8 [1, 4 + C, boxes]']!(all);
    expect(detect({ ...post, suppress: 'none', maxDetections: 5 }, outputs)).toHaveLength(5);
    expect(detect(post, outputs)).toHaveLength(1);
  });

  it('reads float16, and logits through sigmoid and softmax', () => {
    // binary16: 1.0 = 0x3c00, 4.0 = 0x4400, 0 and −1.0 = 0xbc00
    const half: Tensor = {
      type: 'float16',
      dims: [1, 1, 6],
      data: Uint16Array.of(0x4400, 0x4400, 0x4400, 0x4400, 0x3c00, 0xbc00),
    };
    const post = { ...base, order: 'rows', scoreThreshold: 0 } as const;
    const [sigmoid] = detect({ ...post, activation: 'sigmoid' }, { boxes: half });
    expect(sigmoid).toMatchObject({ label: 'cat', x: 2, width: 4 });
    expect(sigmoid!.score).toBeCloseTo(1 / (1 + Math.exp(-1)), 9);
    const [softmax] = detect({ ...post, activation: 'softmax' }, { boxes: half });
    expect(softmax!.score).toBeCloseTo(1 / (1 + Math.exp(-2)), 9);
  });

  it('leaves out boxes without an area', () => {
    const flat = float([1, 1, 5], [5, 5, 0, 4, 0.9]);
    expect(detect({ ...base, order: 'rows' }, { boxes: flat })).toEqual([]);
  });

  it.each([
    ['has too few values', { boxes: float([1, 3, 4], new Array(12).fill(0)) }, { order: 'rows' }],
    ['has two pictures', { boxes: float([2, 3, 7], new Array(42).fill(0)) }, {}],
    [
      'has another number of scores',
      { boxes: float([1, 3, 4], new Array(12).fill(0)), s: float([1, 2], [0, 0]) },
      { order: 'rows', values: 'none', scores: 's' },
    ],
    ['is missing', { other: float([1, 1, 5], [0, 0, 0, 0, 0]) }, {}],
  ])('says when an output %s', (_what, outputs, change) => {
    expect(() => candidatesOf({ ...base, ...change } as DetectPostprocess, outputs as Tensors)).toThrowError(
      expect.objectContaining({ code: 'TENSOR_INVALID' }),
    );
  });
});

describe('boxes on the picture', () => {
  const place: Placement = placementOf(
    { width: 640, height: 640, resize: { mode: 'fit', filter: 'bilinear' } },
    1920,
    1080,
  );

  it('come back through the letterbox, whichever way the model counts', () => {
    // 600..1200 × 300..600 of 1920 × 1080 is 200..400 × 240..340 on the model's 640 × 640.
    const pixels = float([1, 1, 7], [300, 290, 200, 100, 0.9, 0, 0]);
    const shares = float([1, 1, 7], [...[300, 290, 200, 100].map((value) => value / 640), 0.9, 0, 0]);
    const post = { ...base, order: 'rows' } as const;
    const [a] = detect(post, { boxes: pixels }, place);
    const [b] = detect({ ...post, coordinates: 'normalised' }, { boxes: shares }, place);
    for (const box of [a!, b!]) {
      expect(box.x).toBeCloseTo(600, 3);
      expect(box.y).toBeCloseTo(300, 3);
      expect(box.width).toBeCloseTo(600, 3);
      expect(box.height).toBeCloseTo(300, 3);
    }
  });

  it('are cut at its edges, and those in the letterbox alone are left out', () => {
    const over = float([1, 2, 7], [...[0, 320, 100, 100, 0.9, 0, 0], ...[320, 40, 60, 60, 0.8, 0, 0]]);
    const found = detect({ ...base, order: 'rows' }, { boxes: over }, place);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ x: 0 });
    expect(found[0]!.width).toBeCloseTo(150, 3);
  });

  it.each([1, 2, 3])('are where the picture says after any resize (seed %i)', (seed) => {
    const next = chance(seed);
    for (let round = 0; round < 200; round++) {
      const side = (most: number) => 1 + Math.floor(next() * most);
      const [width, height] = [side(300) + 20, side(300) + 20];
      const mode = (['stretch', 'fit', 'crop'] as const)[round % 3]!;
      const at = placementOf(
        { width: side(200) + 20, height: side(200) + 20, resize: { mode, filter: 'area' } },
        width,
        height,
      );
      const [x, y] = [next() * width, next() * height];
      const onModel = [(x * at.width) / width + at.left, (y * at.height) / height + at.top];
      const [box] = detect(
        { ...base, order: 'rows', box: 'xyxy', suppress: 'none' },
        { boxes: float([1, 1, 5], [onModel[0]! - 1, onModel[1]! - 1, onModel[0]!, onModel[1]!, 1]) },
        at,
      );
      if (!box) continue;
      expect(box.x + box.width).toBeCloseTo(x, 2);
      expect(box.y + box.height).toBeCloseTo(y, 2);
    }
  });
});

describe('suppression', () => {
  it('measures overlap as area shared over area covered', () => {
    const box = (left: number, right: number) => ({ left, right, top: 0, bottom: 1 });
    expect(overlap(box(0, 2), box(1, 3))).toBeCloseTo(1 / 3, 12);
    expect(overlap(box(0, 1), box(1, 2))).toBe(0);
    expect(overlap(box(0, 1), box(0, 1))).toBe(1);
  });

  it('of ten thousand boxes on one spot ends at the bound', () => {
    const crowd: Candidate[] = Array.from({ length: 4096 }, (_, i) => ({
      ...{ left: i, right: i + 0.5, top: 0, bottom: 1, kind: 0 },
      score: 1 - i / 1e5,
    }));
    expect(suppressed({ ...base, maxDetections: 300 }, crowd)).toHaveLength(300);
    const table = float(
      [1, 7, 10_000],
      [
        ...Array.from({ length: 10_000 }, (_, i) => i * 10),
        ...new Array(30_000).fill(5),
        ...new Array(30_000).fill(0.9),
      ],
    );
    expect(candidatesOf(base, { boxes: table })).toHaveLength(4096);
  });
});

describe('the prediction of a detector', () => {
  it('is its best box, the number of boxes, and an alarm of any of them', () => {
    const two = float([1, 2, 7], [...[10, 10, 8, 8, 0.9, 0, 0], ...[40, 40, 8, 8, 0, 0, 0.5]]);
    const outcome = postprocess({ ...base, order: 'rows' }, { boxes: two }, []);
    expect(outcome).toMatchObject({ label: 'cat', alarm: 1, charts: { 'output:count': 2 } });
    expect(outcome.score).toBeCloseTo(0.9, 6);
    expect(outcome.boxes!.map(({ label }) => label)).toEqual(['cat', 'owl']);
  });

  it('is `nothing` when nothing is there', () => {
    const none = float([1, 1, 7], [10, 10, 8, 8, 0.1, 0, 0]);
    expect(postprocess({ ...base, order: 'rows' }, { boxes: none }, [])).toMatchObject({
      ...{ label: 'nothing', score: 0, alarm: 0, boxes: [] },
      charts: { confidence: 0, 'output:count': 0 },
    });
  });
});
