/**
 * How readings become a model's tensors and its tensors become predictions, as data. One object of these is also the
 * preprocessing file that `skein-model` takes for a directory of images: what was tried at the desk is what runs.
 */
import { type Static, type TSchema, Type } from 'typebox';
import { SkeinError } from './errors.ts';
import { checker, oneOf, strict } from './schema.ts';

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength });
const numbers = (maxItems: number) => Type.Array(Type.Number(), { maxItems });
const share = (description: string) => Type.Number({ minimum: 0, maximum: 1, description });

/** Readings are flat maps of numbers. A window of `size` readings × `features` becomes the input tensor, row-major. */
export const FeaturePreprocess = strict({
  kind: Type.Literal('features'),
  features: Type.Array(text(64), { minItems: 1, maxItems: 1024, description: 'Order of the columns' }),
  /** (x − offset) / scale per feature, then clipped to ±clip; absent: raw values. */
  scaling: Type.Optional(
    strict({ offset: numbers(1024), scale: numbers(1024), clip: Type.Number({ exclusiveMinimum: 0 }) }),
  ),
  window: strict({
    size: Type.Integer({ minimum: 1, maximum: 4096 }),
    stride: Type.Integer({ minimum: 1, maximum: 4096 }),
    padding: oneOf(
      ['none', 'edge'],
      'edge: a window may start before enough readings came; the first is repeated',
    ),
    maxGapMs: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        maximum: 7 * 86_400_000,
        description: 'A longer pause between two readings starts the window anew; absent: no pause does',
      }),
    ),
  }),
  onMissing: oneOf(
    ['reject', 'flag', 'fill'],
    'A value that is absent, NaN, infinite or beyond float32. reject: no prediction, and counted; fill: with the ' +
      'offset; flag: filled, counted and reported',
  ),
});

/** Sides of the model's image; width × height is bounded by {@link MAX_IMAGE_PIXELS} as well. */
const side = Type.Integer({ minimum: 1, maximum: 4096 });

/** An image of more pixels than this is no model's input: 2048 × 2048. */
export const MAX_IMAGE_PIXELS = 2 ** 22;

/**
 * A picture is decoded to 8-bit RGB (its EXIF orientation applied), resized, put into the model's colours, normalised
 * and laid out. Resizing rounds to 8 bits as Pillow does, so weights trained on Pillow's pixels see the same ones.
 */
export const ImagePreprocess = strict({
  kind: Type.Literal('image'),
  width: side,
  height: side,
  resize: strict({
    mode: oneOf(
      ['stretch', 'fit', 'crop'],
      'stretch: both sides at once; fit: whole picture, centred on `fill`; crop: fills the image, centre cut out',
    ),
    filter: oneOf(
      ['nearest', 'bilinear', 'area'],
      'bilinear and area take every source pixel into account when shrinking (antialiased)',
    ),
    fill: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), {
        minItems: 3,
        maxItems: 3,
        description: 'Red, green, blue around a picture that fits; default 114, 114, 114',
      }),
    ),
    shortSide: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 4096,
        description: 'crop: the shorter side becomes this before the centre is cut (256 for 224 × 224)',
      }),
    ),
  }),
  colour: oneOf(['RGB', 'BGR', 'gray'], 'gray: ITU-R 601 luma of the resized picture'),
  normalise: Type.Optional(
    strict(
      {
        scale: Type.Number({ description: 'Multiplies 0 to 255; 0.00392156862745098 is 1/255' }),
        mean: Type.Array(Type.Number(), { minItems: 1, maxItems: 3 }),
        std: Type.Array(Type.Number({ exclusiveMinimum: 0 }), { minItems: 1, maxItems: 3 }),
      },
      '(x · scale − mean) / std; one number, or one per channel in the order of `colour`. Absent: 0 to 255',
    ),
  ),
  type: oneOf(['float32', 'uint8', 'int8'], 'Integers are rounded and clamped'),
  layout: oneOf(['NCHW', 'NHWC', 'NHW'], 'NHW: gray without an axis for the channel'),
});

/** The API gives the tensors themselves, any number of any type; no source can feed such a model. */
export const TensorPreprocess = strict({ kind: Type.Literal('tensor') });

export const Preprocess = Type.Union([FeaturePreprocess, ImagePreprocess, TensorPreprocess]);

const labels = Type.Array(text(64), { minItems: 1, maxItems: 10_000 });
const alarmLabels = Type.Array(text(64), { maxItems: 100 });

export const ClassifyPostprocess = strict({
  kind: Type.Literal('classify'),
  output: text(128),
  softmax: Type.Boolean(),
  labels,
  alarmLabels,
  topK: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 16,
      description: 'Classes in the detail of a prediction; default 1',
    }),
  ),
  threshold: Type.Optional(
    Type.Number({ description: 'Below this score the label is `unknownLabel`, which is never an alarm' }),
  ),
  unknownLabel: Type.Optional(text(64)),
});

/** Boxes in `output`, what follows their four numbers, and how they are thinned. */
export const DetectPostprocess = strict({
  kind: Type.Literal('detect'),
  output: text(128),
  order: oneOf(
    ['rows', 'columns'],
    'rows: [N, boxes, values] (YOLOv5, SSD); columns: [N, values, boxes] (YOLOv8)',
  ),
  box: oneOf(['cxcywh', 'xywh', 'xyxy', 'yxyx'], 'cx, cy: its centre; x, y: its upper left corner'),
  coordinates: oneOf(['pixels', 'normalised'], 'Of the model’s input image'),
  values: oneOf(
    ['classes', 'objectness-classes', 'score-class', 'none'],
    'After the box: a score per class (YOLOv8); objectness and then those (YOLOv5); one score and the number of its ' +
      'class; nothing: they are in `scores`',
  ),
  scores: Type.Optional(text(128)),
  classes: Type.Optional(text(128)),
  activation: oneOf(['none', 'sigmoid', 'softmax'], 'Of the scores; objectness takes sigmoid or nothing'),
  background: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 9_999, description: 'The class that is nothing (SSD: 0)' }),
  ),
  labels,
  alarmLabels,
  scoreThreshold: share('Boxes below are not there'),
  iouThreshold: share('A box that covers a better one by more is the same thing'),
  suppress: oneOf(['per-class', 'all', 'none'], 'none: the model did it itself'),
  maxDetections: Type.Integer({ minimum: 1, maximum: 300 }),
});

export const Postprocess = Type.Union([
  ClassifyPostprocess,
  strict({
    kind: Type.Literal('reconstruction'),
    output: text(128),
    /** score = mean squared error / unit, so 1 is the reference's own 99.9th percentile. */
    unit: Type.Number({ exclusiveMinimum: 0 }),
    threshold: Type.Number({ exclusiveMinimum: 0 }),
  }),
  strict({
    kind: Type.Literal('regress'),
    output: text(128),
    low: Type.Union([Type.Number(), Type.Null()]),
    high: Type.Union([Type.Number(), Type.Null()]),
  }),
  DetectPostprocess,
  /** Tensors for whoever asks; the score is the first number of `output`. */
  strict({ kind: Type.Literal('raw'), output: text(128) }),
]);

export type FeaturePreprocess = Static<typeof FeaturePreprocess>;
export type ImagePreprocess = Static<typeof ImagePreprocess>;
export type Preprocess = Static<typeof Preprocess>;
export type ClassifyPostprocess = Static<typeof ClassifyPostprocess>;
export type DetectPostprocess = Static<typeof DetectPostprocess>;
export type Postprocess = Static<typeof Postprocess>;

const FIX = 'The README lists the fields of a preprocessing file.';
const schemaOf = (schema: TSchema) => checker(schema, 'MANIFEST_INVALID', 1 << 20, FIX);
const BY_KIND = {
  features: schemaOf(FeaturePreprocess),
  image: schemaOf(ImagePreprocess),
  tensor: schemaOf(TensorPreprocess),
};

/** A preprocessing file's object (from JSON or YAML), told by its kind. @throws SkeinError MANIFEST_INVALID */
export function checkPreprocess(value: unknown, what: string): Preprocess {
  const kind = (value as { kind?: unknown } | null)?.kind;
  if (kind === 'features' || kind === 'image' || kind === 'tensor') {
    return BY_KIND[kind].check(value, what) as Preprocess;
  }
  throw new SkeinError('MANIFEST_INVALID', `${what}: \`kind\` must be image, features or tensor`, {
    fix: FIX,
  });
}

/** Channels of the image that a model takes. */
export const channelsOf = ({ colour }: Pick<ImagePreprocess, 'colour'>): number =>
  colour === 'gray' ? 1 : 3;

/** Names of the columns that drift is charted on: the features, or what is cheap to know of a picture. */
export function inputCharts(preprocess: Preprocess): readonly string[] {
  if (preprocess.kind === 'features') return preprocess.features;
  return preprocess.kind === 'image' ? ['brightness', 'contrast'] : [];
}

/** For what only readings of numbers can feed. @throws SkeinError REQUEST_INVALID */
export function featurePreprocess(preprocess: Preprocess): FeaturePreprocess {
  if (preprocess.kind === 'features') return preprocess;
  const takes = preprocess.kind === 'image' ? 'pictures' : 'tensors';
  throw new SkeinError('REQUEST_INVALID', `the model takes ${takes}, not features`, {
    fix: preprocess.kind === 'image' ? 'Give it a picture.' : 'Send tensors to /v2/models/NAME/infer.',
  });
}
