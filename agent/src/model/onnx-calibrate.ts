/** Runs a model on calibration data, sample by sample, and keeps only histograms of what its tensors held. */
import type { Tensors } from '../inference/backend.ts';
import { Columns } from './columns.ts';
import { invalidModel, loadGraph, type ModelProto, saveGraph } from './graph.ts';
import { Histogram } from './histogram.ts';
import { withModel } from './onnx-model.ts';

export interface Seen {
  histogram: Histogram;
  /** Only of tensors that the model reads raw. */
  columns: Columns | undefined;
}

/** How the columns of a raw tensor lie: which axis they are on. */
export type RawAxes = ReadonlyMap<string, number>;

function columnsOf(seen: Seen, dims: readonly number[], values: Float32Array, axis: number): void {
  const at = axis < 0 ? dims.length + axis : axis;
  const width = dims[at] ?? 1;
  seen.columns ??= new Columns(width);
  if (seen.columns.width !== width) return;
  seen.columns.add(
    values,
    dims.slice(at + 1).reduce((product, dim) => product * dim, 1),
  );
}

/** The tensors are made outputs of a copy of the model. @throws SkeinError MODEL_INVALID when the float model itself gives NaN */
export async function collect(
  model: ModelProto,
  names: Iterable<string>,
  raw: RawAxes,
  samples: readonly Tensors[],
  onSample: (done: number) => void,
): Promise<Map<string, Seen>> {
  const given = new Set(model.graph.input.map(({ name }) => name));
  const declared = new Set(model.graph.output.map(({ name }) => name));
  const probed = loadGraph(saveGraph(model));
  const seen = new Map<string, Seen>();
  for (const name of names) {
    seen.set(name, { histogram: new Histogram(), columns: undefined });
    if (!given.has(name) && !declared.has(name)) probed.graph.output.push({ name });
  }
  await withModel(saveGraph(probed), async (session) => {
    for (const [s, sample] of samples.entries()) {
      const tensors = { ...sample, ...(await session.run(sample)) };
      for (const [name, one] of seen) {
        const { data, dims } = tensors[name]!;
        one.histogram.add(data as Float32Array);
        if (raw.has(name)) columnsOf(one, dims, data as Float32Array, raw.get(name)!);
      }
      refuseNaN(tensors, declared, s);
      onSample(s + 1);
    }
  });
  return seen;
}

function refuseNaN(tensors: Tensors, outputs: ReadonlySet<string>, sample: number): void {
  for (const name of outputs) {
    const data = tensors[name]?.data;
    if (!(data instanceof Float32Array)) continue;
    const at = data.findIndex(Number.isNaN);
    if (at >= 0) {
      throw invalidModel(
        `the float model itself gives NaN in \`${name}\` at position ${at} on sample ${sample} of the calibration data`,
        'Remove the sample, or repair the model.',
      );
    }
  }
}
