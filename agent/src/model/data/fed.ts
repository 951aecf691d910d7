/**
 * Samples as a model gets them: with a preprocessing, by the device's own walk (order of the features, scaling, window;
 * decoded, resized and normalised pictures); without, as the tensors that the model declares. Pure.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Preprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import { channelsOf, type ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { Tensors } from '../../inference/backend.ts';
import {
  imageDims,
  imageTensor,
  type Placement,
  pictureRow,
  placementOf,
} from '../../pipeline/picture-tensor.ts';
import type { Pixels } from '../../pipeline/pixels.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from '../../pipeline/preprocess.ts';
import { RowWindow } from '../../pipeline/window.ts';
import type { Picture } from '../../sources/port.ts';
import { refuse, type Sample } from './samples.ts';
import { sampleWidth, tensorsFrom } from './tensors-of.ts';

export interface Fed {
  where: string;
  truth: string | undefined;
  inputs: Tensors;
  /** The one tensor that was fed, for a reconstruction; none when there are several. */
  input: ArrayLike<number>;
  /** What drift is charted on: the raw features, or brightness and contrast of a picture. */
  row: Float64Array;
  /** How a picture lay on the model's image, for boxes. */
  place?: Placement;
}

/** Stateful: a window remembers the rows before. */
export interface Feeder {
  /**
   * undefined: more rows are needed for the window.
   * @throws SkeinError TENSOR_INVALID, INPUT_NOT_FINITE, SOURCE_INVALID, IMAGE_INVALID, IMAGE_TOO_LARGE
   */
  push(sample: Sample): Promise<Fed | undefined>;
}

export type Decode = (picture: Picture) => Promise<Pixels>;

const NOTHING = new Float64Array();

/** Raw values in the order of `features`. */
export function featureRow(
  sample: Sample,
  features: readonly string[],
  columns: readonly string[] | undefined,
): Float64Array {
  const { where, content } = sample;
  if (content.kind !== 'values')
    throw refuse(where, 'features are numbers, one a column; here is something else');
  const row = Float64Array.from(content.values as Float64Array, Number);
  if (columns) return rowOf(features, Object.fromEntries(columns.map((name, c) => [name, row[c]!])));
  if (row.length === features.length) return row;
  throw new SkeinError(
    'TENSOR_INVALID',
    `${where}: ${row.length} values given, the model takes ${features.length} features`,
    { fix: `Give them in this order: ${features.join(', ').slice(0, 500)}.` },
  );
}

/** Features that the data do not name; none when they name nothing. */
export const lackingColumns = (
  columns: readonly string[] | undefined,
  { features }: FeaturePreprocess,
): readonly string[] => (columns ? features.filter((name) => !columns.includes(name)) : []);

/**
 * Data that name their columns must have the model's: all of them, or one at least where missing values are filled.
 * @throws SkeinError SOURCE_INVALID
 */
export function checkColumns(columns: readonly string[] | undefined, preprocess: FeaturePreprocess): void {
  const { features, onMissing } = preprocess;
  const lacking = lackingColumns(columns, preprocess);
  if (lacking.length === 0 || (onMissing !== 'reject' && lacking.length < features.length)) return;
  const more = lacking.length > 5 ? ` and ${lacking.length - 5} more` : '';
  throw refuse(
    'the data',
    `no column ${lacking.slice(0, 5).join(', ')}${more}; there are ${columns!.slice(0, 10).join(', ')}`,
    `The model takes the features ${features.join(', ').slice(0, 500)}.`,
  );
}

function featureFeeder(
  specs: readonly TensorSpec[],
  preprocess: FeaturePreprocess,
  columns: readonly string[] | undefined,
): Feeder {
  const { features, onMissing } = preprocess;
  checkColumns(columns, preprocess);
  const windows = new RowWindow(preprocess.window);
  return {
    async push(sample) {
      const { where, truth } = sample;
      const row = featureRow(sample, features, columns);
      const missing = missingIn(row);
      if (missing.length > 0 && onMissing === 'reject') {
        const names = missing.slice(0, 8).map((i) => features[i]);
        throw new SkeinError('INPUT_NOT_FINITE', `${where}: missing or not finite: ${names.join(', ')}`);
      }
      const input = windows.push(scaleRow(preprocess, row));
      return input && { where, truth, inputs: inputTensors({ inputs: specs }, input), input, row };
    },
  };
}

/** Bytes whose shape is that of pixels are a picture: [h, w], [h, w, 3], or flat in the size of the model's image. */
function pictureIn({ where, content }: Sample, { width, height }: ImagePreprocess): Picture {
  if (content.kind === 'picture') return content.picture;
  if (content.kind === 'values' && content.values instanceof Uint8Array) {
    const { shape, values: bytes } = content;
    const area = width * height;
    const flat = shape.length === 1 && bytes.length % area === 0;
    const [h, w, channels = 1] = flat ? [height, width, bytes.length / area] : shape;
    if (channels === 1 && shape.length <= 3) return { format: 'gray8', width: w!, height: h!, bytes };
    if (channels === 3 && shape.length <= 3) return { format: 'rgb24', width: w!, height: h!, bytes };
  }
  throw refuse(
    where,
    'no picture',
    'Give JPEG or PNG files, or bytes of shape [height, width] or [height, width, 3].',
  );
}

function pictureFeeder(specs: readonly TensorSpec[], preprocess: ImagePreprocess, decode: Decode): Feeder {
  const { name } = specs[0]!;
  return {
    async push(sample) {
      const { where, truth } = sample;
      const pixels = await decode(pictureIn(sample, preprocess)).catch((thrown: unknown) => {
        const { code, message, fix } = asSkeinError(thrown, 'IMAGE_INVALID');
        throw new SkeinError(code, `${where}: ${message}`, { ...(fix ? { fix } : {}), cause: thrown });
      });
      const data = imageTensor(preprocess, pixels);
      const inputs = { [name]: { type: preprocess.type, dims: imageDims(preprocess), data } };
      const place = placementOf(preprocess, pixels.width, pixels.height);
      return { where, truth, inputs, input: data as Float32Array, row: pictureRow(pixels), place };
    },
  };
}

/** Values of one sample in a file of raw bytes; undefined when the model has several inputs. */
export function rawWidth(
  specs: readonly TensorSpec[],
  preprocess: Preprocess | undefined,
): number | undefined {
  if (preprocess?.kind === 'image') return preprocess.width * preprocess.height * channelsOf(preprocess);
  if (preprocess?.kind === 'features') return preprocess.features.length;
  return specs.length === 1 ? sampleWidth(specs[0]!) : undefined;
}

/**
 * @param preprocess absent or of kind `tensor`: the data are the model's tensors
 * @param columns of the data set
 * @throws SkeinError SOURCE_INVALID when the data can not feed the model at all
 */
export function feeder(
  specs: readonly TensorSpec[],
  preprocess: Preprocess | undefined,
  columns: readonly string[] | undefined,
  decode: Decode,
): Feeder {
  if (preprocess?.kind === 'features') return featureFeeder(specs, preprocess, columns);
  if (preprocess?.kind === 'image') return pictureFeeder(specs, preprocess, decode);
  return {
    async push(sample) {
      const inputs = tensorsFrom(sample, specs);
      const [only, ...others] = Object.values(inputs);
      const input = others.length === 0 ? (only!.data as Float32Array) : NOTHING;
      return { where: sample.where, truth: sample.truth, inputs, input, row: NOTHING };
    },
  };
}
