/**
 * One activation of a model, as its readings see it: the window that fills, the drift that is counted. A new model
 * means new ones, because its features and bins may differ. Pure.
 */
import { type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Manifest, Preprocess } from '@skein/protocol/manifest.ts';
import { type ImagePreprocess, inputCharts } from '@skein/protocol/manifest-pipeline.ts';
import { FormerCharts } from '../drift/former.ts';
import { DriftObserver } from '../drift/observe.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import type { Reading } from '../sources/port.ts';
import { imageDims, type Placement } from './picture-tensor.ts';
import type { PreparedPicture } from './pictures.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from './preprocess.ts';
import { RowWindow } from './window.ts';

/** What one inference is fed. */
export interface Fed {
  inputs: Tensors;
  /** The values of the one input. */
  values: ArrayLike<number>;
  place?: Placement;
}

export interface ModelFeed {
  readonly current: CurrentModel;
  readonly manifest: Manifest;
  readonly drift: DriftObserver | undefined;
  readonly window: RowWindow | undefined;
  /** Of the model before this one, if its charts can be compared. */
  readonly former: { readonly charts: FormerCharts; readonly preprocess: Preprocess } | undefined;
}

/** @param before of the model that this one replaces; its open window is closed */
export function feedFor(current: CurrentModel, before?: ModelFeed): ModelFeed {
  const { manifest } = current;
  const { preprocess, drift } = manifest;
  return {
    current,
    manifest,
    drift: drift ? new DriftObserver(drift, inputCharts(preprocess)) : undefined,
    window: preprocess.kind === 'features' ? new RowWindow(preprocess.window) : undefined,
    former: drift ? formerOf(before, preprocess.kind) : undefined,
  };
}

function formerOf(before: ModelFeed | undefined, kind: Preprocess['kind']): ModelFeed['former'] {
  if (before?.drift === undefined || before.manifest.preprocess.kind !== kind) return undefined;
  return { charts: new FormerCharts(before.drift), preprocess: before.manifest.preprocess };
}

/**
 * Counts what came of the reading, by the charts of this model and of the one before: features in that one's order, a picture
 * as this one gets it. @returns whether a window of this model is full
 */
export function countRow({ drift, former }: ModelFeed, row: Float64Array, { values }: Reading): boolean {
  if (former && !former.charts.over) {
    const { charts, preprocess } = former;
    charts.input(preprocess.kind === 'features' ? rowOf(preprocess.features, values) : row);
  }
  return drift?.input(row) === true;
}

/** What came of a reading's values. */
export interface Row {
  row: Float64Array;
  /** Names of features that are missing, not finite or beyond float32; at most eight. */
  missing: readonly string[];
  /** undefined: rejected, or the window is not due. */
  fed: Fed | undefined;
}

const NONE: readonly string[] = [];

/** Pushes the reading into the window. */
export function feedRow(feed: ModelFeed, preprocess: FeaturePreprocess, reading: Reading): Row {
  const row = rowOf(preprocess.features, reading.values);
  const indices = missingIn(row);
  const missing = indices.length === 0 ? NONE : indices.slice(0, 8).map((i) => preprocess.features[i]!);
  if (missing.length > 0 && preprocess.onMissing === 'reject') return { row, missing, fed: undefined };
  const values = feed.window!.push(scaleRow(preprocess, row), reading.mono);
  return { row, missing, fed: values && { inputs: inputTensors(feed.manifest, values), values } };
}

export function pictureFed(
  manifest: Pick<Manifest, 'inputs'>,
  preprocess: ImagePreprocess,
  { data, place }: PreparedPicture,
): Fed {
  const input = { type: preprocess.type, dims: imageDims(preprocess), data };
  return { inputs: { [manifest.inputs[0]!.name]: input }, values: data as Float32Array, place };
}

const TAKES = { features: 'named numbers', image: 'pictures', tensor: 'tensors of the local API only' };

/** A reading of the wrong kind: a camera on a model for sensors, or the other way round. */
export const misfit = ({ name, preprocess }: Manifest): SkeinError =>
  new SkeinError('SOURCE_INVALID' satisfies ErrorCode, `\`${name}\` takes ${TAKES[preprocess.kind]}`, {
    fix: 'Give the source the model that its readings are for: `sources.NAME.model`.',
  });
