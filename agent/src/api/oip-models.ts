/**
 * What the Open Inference Protocol and Triton's extensions say of models, as plain values for REST and gRPC alike: metadata,
 * model configuration, statistics, repository index (github.com/triton-inference-server/server, docs/protocol/).
 * Versions are strings there too, so `1.2.0` is one.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel, EngineStatistics } from '../inference/engine.ts';
import type { InferenceStatistics } from '../inference/statistics.ts';
import { DATATYPES } from './oip-bytes.ts';
import { tensorView } from './oip-tensors.ts';

/** What the protocol needs of the agent. */
export interface OipModels {
  version: string;
  ready(): boolean;
  all(): CurrentModel[];
  current(model: string): CurrentModel | undefined;
  /** Is this model giving its golden answers? */
  modelReady(model: string): boolean;
  statistics(model: string): EngineStatistics | undefined;
  /** @param options `timeoutMs` of the client, if it has one */
  predict(model: string, inputs: Tensors, options?: { timeoutMs?: Millis }): Promise<InferResult>;
}

export interface InferResult {
  outputs: Tensors;
  version: string;
  /** False where the policy is to flag inputs that hold NaN or an infinity; answers say `inputs_finite`. */
  inputsFinite?: boolean;
}

/** @param version of the request; absent or empty: any. @throws SkeinError NOT_FOUND */
export function modelNamed(models: OipModels, name: string, version?: string): CurrentModel {
  const model = models.current(name);
  if (model && (!version || version === model.manifest.version)) return model;
  const what = model
    ? `${name} runs version ${model.manifest.version}, not ${version}`
    : `no model ${name} is active`;
  throw new SkeinError('NOT_FOUND', what, { fix: '`skein-agent status` lists the models that run.' });
}

/** What this server speaks beyond the protocol's core, by Triton's names. */
export const EXTENSIONS: readonly string[] = [
  'binary_tensor_data',
  'classification',
  'model_configuration',
  'model_repository',
  'statistics',
];

const backendOf = ({ variant }: CurrentModel): string =>
  variant.backend === 'onnx' ? 'onnxruntime' : variant.backend;

/** Triton's `<backend>_<format>`: onnxruntime_onnx, tensorrt_plan. */
const platformOf = (model: CurrentModel): string => `${backendOf(model)}_${model.variant.format ?? 'onnx'}`;

export const modelMetadata = (model: CurrentModel) => ({
  name: model.manifest.name,
  versions: [model.manifest.version],
  platform: platformOf(model),
  inputs: model.loaded.inputs.map(tensorView),
  outputs: model.loaded.outputs.map(tensorView),
});

/** Dimensions without the batch's, which `max_batch_size` > 0 implies. */
const configTensor = ({ name, type, shape }: TensorSpec, batched: boolean) => ({
  name,
  data_type: `TYPE_${DATATYPES[type]}`,
  dims: batched ? shape.slice(1) : [...shape],
});

const instanceKind = (provider: string): string => {
  if (provider === 'cpu') return 'KIND_CPU';
  return provider === 'cuda' || provider === 'tensorrt' ? 'KIND_GPU' : 'KIND_MODEL';
};

/** Triton's model configuration (model_config.proto, as its JSON). `max_batch_size` 0: requests never share a run. */
export function modelConfig(model: CurrentModel) {
  const { loaded, manifest, variant, maxBatch = 1 } = model;
  const batched = maxBatch > 1;
  const said = {
    variant: variant.id,
    precision: variant.precision,
    sha256: loaded.sha256,
    provider: loaded.provider,
    placement: loaded.placement,
    reason: loaded.reason,
  };
  return {
    name: manifest.name,
    platform: platformOf(model),
    backend: backendOf(model),
    version_policy: { latest: { num_versions: 1 } },
    max_batch_size: batched ? maxBatch : 0,
    input: loaded.inputs.map((spec) => configTensor(spec, batched)),
    output: loaded.outputs.map((spec) => configTensor(spec, batched)),
    instance_group: [{ name: `${manifest.name}_0`, kind: instanceKind(loaded.provider), count: 1 }],
    // A batch is what waits when the model becomes free: nothing is delayed for it.
    ...(batched
      ? {
          dynamic_batching: {
            max_queue_delay_microseconds: 0,
            preferred_batch_size: [],
            preserve_ordering: false,
          },
        }
      : {}),
    default_model_filename: `model.${variant.format ?? 'onnx'}`,
    parameters: Object.fromEntries(
      Object.entries(said).map(([key, value]) => [key, { string_value: String(value) }]),
    ),
  };
}

/** One entry of `model_stats`. */
export const modelStatistics = ({ manifest }: CurrentModel, statistics: InferenceStatistics) => ({
  name: manifest.name,
  version: manifest.version,
  ...statistics,
});

export interface IndexedModel {
  name: string;
  version: string;
  /** READY: it gives its golden answers. */
  state: 'READY' | 'UNAVAILABLE';
  reason: string;
}

export const repositoryIndex = (
  models: readonly CurrentModel[],
  isReady: (model: string) => boolean = () => true,
): IndexedModel[] =>
  models.map(({ manifest: { name, version } }) =>
    isReady(name)
      ? { name, version, state: 'READY', reason: '' }
      : { name, version, state: 'UNAVAILABLE', reason: 'it has not given its golden answers' },
  );
