/**
 * What each method of `inference.GRPCInferenceService` and `grpc.health.v1.Health` answers: bytes in, bytes out, whoever
 * carries them. Models come and go by signed orders only, so loading and unloading are refused; tensors travel in the
 * message, so shared memory is not there.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { checkParts } from './grpc-bounds.ts';
import { inputsOf, responseOf, timeoutOf, wantedOutputs } from './grpc-infer.ts';
import {
  decode,
  encode,
  encodePlain,
  type InferRequest,
  type InferResponse,
  type MessageName,
  type NamedRequest,
} from './grpc-schema.ts';
import { GRPC_STATUS, type GrpcFailure, unreadable, wordsOf } from './grpc-status.ts';
import {
  EXTENSIONS,
  modelConfig,
  modelMetadata,
  modelNamed,
  modelStatistics,
  type OipModels,
  repositoryIndex,
} from './oip-models.ts';

export const INFERENCE = 'inference.GRPCInferenceService';
export const HEALTH = 'grpc.health.v1.Health';

/** @param timeoutMs that are left of the call's deadline. @throws SkeinError */
export type Method = (
  models: OipModels,
  request: Uint8Array,
  timeoutMs?: Millis,
) => Uint8Array | Promise<Uint8Array>;

/** @throws SkeinError REQUEST_INVALID */
function read<T>(name: MessageName, bytes: Uint8Array): T {
  try {
    return decode<T>(name, bytes);
  } catch (cause) {
    throw unreadable(cause);
  }
}

/** @throws SkeinError REQUEST_INVALID, PAYLOAD_TOO_LARGE */
function readInfer(bytes: Uint8Array): InferRequest {
  try {
    checkParts(bytes);
  } catch (cause) {
    throw unreadable(cause);
  }
  return read('ModelInferRequest', bytes);
}

/** A method whose answer is known at once. */
const said =
  <T>(name: string, answer: (models: OipModels, request: T) => object): Method =>
  (models, bytes) =>
    encode(`${name}Response` as MessageName, answer(models, read<T>(`${name}Request` as MessageName, bytes)));

async function infer(models: OipModels, request: InferRequest, deadlineMs?: Millis): Promise<InferResponse> {
  const model = modelNamed(models, request.model_name, request.model_version);
  const wanted = wantedOutputs(request, model);
  const limit = timeoutOf(request, deadlineMs);
  let inputs: ReturnType<typeof inputsOf>;
  try {
    inputs = inputsOf(request, model);
  } catch (cause) {
    throw unreadable(cause);
  }
  const answer = await models.predict(model.manifest.name, inputs, limit);
  return responseOf(request, model, answer, wanted);
}

const inferOnce: Method = async (models, bytes, deadlineMs) =>
  encodePlain('ModelInferResponse', await infer(models, readInfer(bytes), deadlineMs));

/** One answer of a stream; what is wrong with its request is said in it and ends nothing. Never throws. */
export const inferInStream = async (
  models: OipModels,
  bytes: Uint8Array,
  deadlineMs?: Millis,
): Promise<Uint8Array> => {
  let id = '';
  try {
    const request = readInfer(bytes);
    id = request.id;
    const infer_response = await infer(models, request, deadlineMs);
    return encodePlain('ModelStreamInferResponse', { infer_response });
  } catch (thrown) {
    return refusalInStream(thrown, id);
  }
};

export const refusalInStream = (thrown: unknown, id = ''): Uint8Array =>
  encodePlain('ModelStreamInferResponse', {
    error_message: wordsOf(asWords(thrown)),
    infer_response: { id: id.toWellFormed() },
  });

const asWords = (thrown: unknown): SkeinError =>
  thrown instanceof SkeinError ? thrown : new SkeinError('INTERNAL', (thrown as Error).message);

const statisticsOf = (models: OipModels, { name, version }: NamedRequest): object => {
  const asked = name ? [modelNamed(models, name, version)] : models.all();
  return {
    model_stats: asked.flatMap((model) => {
      const statistics = models.statistics(model.manifest.name);
      return statistics ? [modelStatistics(model, statistics)] : [];
    }),
  };
};

const refuseOrder = (): never => {
  throw new SkeinError('FORBIDDEN', 'models are loaded and unloaded by signed orders only', {
    fix: 'Create a rollout on the fleet server: `skein rollouts create`.',
  });
};

const isReady = (models: OipModels, { name, version }: NamedRequest): boolean => {
  const model = models.current(name);
  return model !== undefined && (!version || version === model.manifest.version) && models.modelReady(name);
};

const UNARY: Readonly<Record<string, Method>> = {
  ServerLive: said('ServerLive', () => ({ live: true })),
  ServerReady: said('ServerReady', (models) => ({ ready: models.ready() })),
  ModelReady: said<NamedRequest>('ModelReady', (models, request) => ({ ready: isReady(models, request) })),
  ServerMetadata: said('ServerMetadata', ({ version }) => ({
    name: 'skein-agent',
    version,
    // Tensors are binary here without an extension.
    extensions: EXTENSIONS.filter((name) => name !== 'binary_tensor_data'),
  })),
  ModelMetadata: said<NamedRequest>('ModelMetadata', (models, { name, version }) =>
    modelMetadata(modelNamed(models, name, version)),
  ),
  ModelConfig: said<NamedRequest>('ModelConfig', (models, { name, version }) => ({
    config: modelConfig(modelNamed(models, name, version)),
  })),
  ModelStatistics: said<NamedRequest>('ModelStatistics', statisticsOf),
  ModelInfer: inferOnce,
  RepositoryIndex: said<{ ready: boolean }>('RepositoryIndex', (models, { ready }) => ({
    models: repositoryIndex(models.all(), (name) => models.modelReady(name)).filter(
      ({ state }) => !ready || state === 'READY',
    ),
  })),
  RepositoryModelLoad: refuseOrder,
  RepositoryModelUnload: refuseOrder,
};

export type Health = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

/** SERVING: every model gives its golden answers. @throws SkeinError REQUEST_INVALID */
export function healthOf(models: OipModels, bytes: Uint8Array): Health {
  const { service } = read<{ service: string }>('HealthCheckRequest', bytes);
  if (service !== '' && service !== INFERENCE) return 'SERVICE_UNKNOWN';
  return models.ready() ? 'SERVING' : 'NOT_SERVING';
}

export const healthAnswer = (status: Health): Uint8Array => encode('HealthCheckResponse', { status });

/** An unknown service is an error here, and a status only to who watches it: so the health protocol says. */
export const check: Method = (models, bytes) => {
  const health = healthOf(models, bytes);
  if (health !== 'SERVICE_UNKNOWN') return healthAnswer(health);
  throw new SkeinError('NOT_FOUND', 'no such service is here', { fix: `Ask for ${INFERENCE}.` });
};

/** By path. */
export const METHODS: ReadonlyMap<string, Method> = new Map(
  Object.entries(UNARY).map(([name, method]) => [`/${INFERENCE}/${name}`, method]),
);

const SHARED_MEMORY = 'there is no shared memory: send tensors in raw_input_contents';
const unimplemented = (details: string): GrpcFailure => ({ code: GRPC_STATUS.UNIMPLEMENTED, details });

/** Methods of Triton that this server does not have, by path, with the reason. */
export const UNIMPLEMENTED: ReadonlyMap<string, GrpcFailure> = new Map(
  Object.entries({
    SystemSharedMemoryStatus: SHARED_MEMORY,
    SystemSharedMemoryRegister: SHARED_MEMORY,
    SystemSharedMemoryUnregister: SHARED_MEMORY,
    CudaSharedMemoryStatus: SHARED_MEMORY,
    CudaSharedMemoryRegister: SHARED_MEMORY,
    CudaSharedMemoryUnregister: SHARED_MEMORY,
    TraceSetting: 'requests are not traced: ModelStatistics and /metrics count them',
    LogSettings: 'what is logged is not changed from here',
  }).map(([name, reason]) => [`/${INFERENCE}/${name}`, unimplemented(reason)]),
);
