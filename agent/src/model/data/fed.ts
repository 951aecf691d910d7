/**
 * Samples as a model gets them: with a preprocessing, by the device's own walk (order of the features, scaling, window);
 * without, as the tensors that the model declares. Pure.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Preprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { Tensors } from '../../inference/backend.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from '../../pipeline/preprocess.ts';
import { RowWindow } from '../../pipeline/window.ts';
import { refuse, type Sample } from './samples.ts';
import { tensorsFrom } from './tensors-of.ts';

export interface Fed {
  where: string;
  truth: string | undefined;
  inputs: Tensors;
  /** The window that was fed, when features were. */
  window: Float32Array | undefined;
}

/** Stateful: a window remembers the rows before. */
export interface Feeder {
  /** undefined: more rows are needed for the window. @throws SkeinError TENSOR_INVALID, INPUT_NOT_FINITE, SOURCE_INVALID */
  push(sample: Sample): Fed | undefined;
}

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
  if (columns) {
    return rowOf(features, Object.fromEntries(columns.map((name, c) => [name, row[c]!])));
  }
  if (row.length === features.length) return row;
  throw new SkeinError(
    'TENSOR_INVALID',
    `${where}: ${row.length} values given, the model takes ${features.length} features`,
    { fix: `Give them in this order: ${features.join(', ').slice(0, 500)}.` },
  );
}

/**
 * Data that name their columns must have the model's: all of them, or one at least where missing values are filled.
 * @throws SkeinError SOURCE_INVALID
 */
export function checkColumns(columns: readonly string[] | undefined, preprocess: Preprocess): void {
  const { features, onMissing } = preprocess;
  const lacking = columns ? features.filter((name) => !columns.includes(name)) : [];
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
    push(sample) {
      const row = featureRow(sample, features, columns);
      const missing = missingIn(row);
      if (missing.length > 0 && onMissing === 'reject') {
        const names = missing.slice(0, 8).map((i) => features[i]);
        throw new SkeinError(
          'INPUT_NOT_FINITE',
          `${sample.where}: missing or not finite: ${names.join(', ')}`,
        );
      }
      const window = windows.push(scaleRow(preprocess, row));
      if (!window) return undefined;
      return {
        where: sample.where,
        truth: sample.truth,
        inputs: inputTensors({ inputs: specs }, window),
        window,
      };
    },
  };
}

/** @param columns of the data set. @throws SkeinError SOURCE_INVALID when the data can not feed the model at all */
export function feeder(
  specs: readonly TensorSpec[],
  preprocess: Preprocess | undefined,
  columns: readonly string[] | undefined,
): Feeder {
  if (preprocess && preprocess.kind !== 'tensor') {
    return featureFeeder(specs, featurePreprocess(preprocess), columns);
  }
  return {
    push: (sample) => ({
      where: sample.where,
      truth: sample.truth,
      inputs: tensorsFrom(sample, specs),
      window: undefined,
    }),
  };
}
