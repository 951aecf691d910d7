/** `skein-model inspect`: what a model or a bundle is made of, and what stands in its way. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { benchInputs } from './bench-inputs.ts';
import { readBundle } from './disk-bundle.ts';
import { isModelFile, readModelFile, variantBytes } from './disk-model.ts';
import { MAX_MODEL_BYTES, type ModelProto } from './graph.ts';
import { decodeModel } from './graph-schema.ts';
import { type GraphFacts, graphFacts } from './inspect-graph.ts';
import { countMacs } from './onnx-macs.ts';
import { openModel } from './onnx-quantize.ts';

export interface BundleFacts {
  model: string;
  description: string;
  licence: string;
  variants: {
    id: string;
    precision: string;
    backend: string;
    sizeBytes: number;
    accuracy: number | null;
    tolerance: number;
  }[];
  preprocess: string;
  postprocess: string;
  drift: string;
  memoryBytes: number;
  tags: string[];
  quantization: Manifest['quantization'];
  trainedFrom: string[];
}

export interface Inspection extends GraphFacts {
  sizeBytes: number;
  /** Of one sample; null when nobody can tell. */
  macs: number | null;
  /** Present when a bundle was given. */
  bundle?: BundleFacts;
}

/** Read from the protobuf alone. @throws SkeinError MODEL_INVALID when it is none */
function decoded(bytes: Uint8Array): ModelProto {
  const fix = 'Give a file that ends in .onnx and is complete.';
  if (bytes.length > MAX_MODEL_BYTES)
    throw new SkeinError('MODEL_INVALID', `the model has ${bytes.length} bytes, at most 1 GiB is read`);
  try {
    const model = decodeModel(bytes);
    if (model.graph && model.graph.node.length > 0) return model;
  } catch (cause) {
    throw new SkeinError('MODEL_INVALID', 'the file is not an ONNX model', { fix, cause });
  }
  throw new SkeinError('MODEL_INVALID', 'the file is not an ONNX model: it has no graph', { fix });
}

/** What the runtime itself says: it is asked, not guessed. */
async function askRuntime(
  bytes: Uint8Array,
  model: ModelProto,
): Promise<{ macs: number | null; problems: string[] }> {
  try {
    const session = await openModel(bytes);
    const inputs = benchInputs(session.inputs, 1);
    const fixed = [...session.inputs].filter(({ shape }) => shape.length > 1 && shape[0]! >= 0);
    await session.close();
    const notes = fixed.map(
      ({ name, shape }) => `input \`${name}\` takes ${shape[0]} at a time: requests can not run together`,
    );
    return { macs: await countMacs(model, inputs).catch(() => null), problems: notes };
  } catch (thrown) {
    return { macs: null, problems: [`onnxruntime refuses it: ${asSkeinError(thrown).message}`] };
  }
}

const bundleFacts = (manifest: Manifest): BundleFacts => ({
  model: `${manifest.name}@${manifest.version}`,
  description: manifest.description,
  licence: manifest.licence,
  variants: manifest.variants.map(({ id, precision, backend, target, file, accuracy, tolerance }) => ({
    id,
    precision,
    backend: target ? `${backend} (${target})` : backend,
    sizeBytes: file.size,
    accuracy,
    tolerance,
  })),
  preprocess: preprocessText(manifest),
  postprocess: `${manifest.postprocess.kind} of \`${manifest.postprocess.output}\``,
  drift: manifest.drift ? `${manifest.drift.charts.length} charts, window ${manifest.drift.window}` : 'none',
  memoryBytes: manifest.needs.memoryBytes,
  tags: manifest.needs.tags,
  quantization: manifest.quantization,
  trainedFrom: manifest.lineage.trainedFrom,
});

function preprocessText({ preprocess }: Manifest): string {
  switch (preprocess.kind) {
    case 'features':
      return `${preprocess.features.length} features, window ${preprocess.window.size} every ${preprocess.window.stride}`;
    case 'image':
      return `picture to ${preprocess.width} × ${preprocess.height} ${preprocess.colour}, ${preprocess.layout}`;
    case 'tensor':
      return 'tensors as they are';
    default:
      return preprocess satisfies never;
  }
}

async function inspect(bytes: Uint8Array, directory: string | undefined): Promise<Inspection> {
  const model = decoded(bytes);
  const isThere = (name: string) =>
    directory !== undefined && name !== '' && existsSync(join(directory, name));
  const facts = graphFacts(model, isThere);
  const { macs, problems } = await askRuntime(bytes, model);
  return { sizeBytes: bytes.length, ...facts, macs, problems: [...facts.problems, ...problems] };
}

/** @param variant of a bundle; its first when absent. @throws SkeinError MODEL_INVALID, BUNDLE_*, NOT_FOUND */
export async function runInspect(path: string, variant?: string): Promise<Inspection> {
  if (isModelFile(path)) return inspect(await readModelFile(path), dirname(path));
  const bundle = await readBundle(path);
  const facts = await inspect(variantBytes(bundle, variant), undefined);
  return { ...facts, bundle: bundleFacts(bundle.manifest) };
}
