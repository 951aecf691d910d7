/** Data files as what a model is calibrated and measured on: bounded in number and memory, evenly thinned. */
import type { Preprocess, TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { decodePicture } from '../../pipeline/image-decode.ts';
import { type DataOptions, openData } from './disk-data.ts';
import { type Fed, featureRow, feeder, rawWidth } from './fed.ts';
import { type DataSet, refuse, strictly } from './samples.ts';
import { Thinned } from './thinned.ts';

export interface FedOptions extends Omit<DataOptions, 'width'> {
  preprocess?: Preprocess | undefined;
  /** Samples kept, evenly spaced. Default 20,000, and never more than 1 GiB of inputs. */
  most?: number;
}

const MOST_SAMPLES = 20_000;
const MOST_BYTES: Bytes = 2 ** 30;
const MAX_TABLE_VALUES = 2 ** 26;

const bytesOf = ({ inputs }: Fed): Bytes =>
  Object.values(inputs).reduce((sum, { data }) => sum + data.byteLength, 0);

/**
 * Samples as the inputs of a model with `specs`. `total` counts those that were there.
 * @throws SkeinError SOURCE_INVALID, TENSOR_INVALID for the first sample that does not fit
 */
export async function readFed(
  path: string,
  specs: readonly TensorSpec[],
  { preprocess, most = MOST_SAMPLES, ...options }: FedOptions = {},
): Promise<{ samples: readonly Fed[]; total: number }> {
  const data = await openData(path, { ...options, width: rawWidth(specs, preprocess) });
  const feed = feeder(specs, preprocess, data.columns, decodePicture);
  const windowed = preprocess?.kind === 'features';
  let kept: Thinned<Fed> | undefined;
  for await (const sample of strictly(data.samples())) {
    // A window needs every row, all else only what is kept.
    if (kept && !kept.wanted && !windowed) {
      kept.skip();
      continue;
    }
    const fed = await feed.push(sample);
    if (!fed) continue;
    kept ??= new Thinned(Math.min(most, Math.floor(MOST_BYTES / Math.max(1, bytesOf(fed)))));
    kept.add(fed);
  }
  if (!kept) throw refuse(path, 'no samples', 'Give more rows, or a smaller window.');
  return { samples: kept.items, total: kept.seen };
}

export interface SampleTable {
  /** Names of the columns, when the file has them. */
  columns: readonly string[] | undefined;
  rows: Float64Array[];
  /** Known class of each row, when the file has them. */
  truth: string[] | undefined;
}

/** All rows of a recording, in its order. @throws SkeinError SOURCE_INVALID */
export async function readTable(path: string, options: DataOptions = {}): Promise<SampleTable> {
  return tableOf(path, await openData(path, options));
}

async function tableOf(path: string, data: DataSet): Promise<SampleTable> {
  const rows: Float64Array[] = [];
  const truth: string[] = [];
  let values = 0;
  for await (const sample of strictly(data.samples())) {
    const width = sample.content.kind === 'values' ? sample.content.values.length : 0;
    const row = featureRow(
      sample,
      data.columns ?? Array.from({ length: width }, (_, i) => `x${i + 1}`),
      undefined,
    );
    values += row.length;
    if (values > MAX_TABLE_VALUES)
      throw refuse(
        path,
        `more than ${MAX_TABLE_VALUES} values`,
        'Give fewer rows: a part of the recording will do.',
      );
    rows.push(row);
    if (sample.truth !== undefined) truth.push(sample.truth);
  }
  if (rows.length === 0) throw refuse(path, 'the file is empty');
  return { columns: data.columns, rows, truth: truth.length === rows.length ? truth : undefined };
}
