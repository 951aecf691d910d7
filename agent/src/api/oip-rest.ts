/**
 * Open Inference Protocol v2 over REST (github.com/kserve/open-inference-protocol, specification 2.0) with Triton's
 * extensions for binary tensors, classification, model configuration, statistics and the repository index. Pure: a request
 * in, an answer out. Errors are `{"error": "…"}` as the protocol says, with our code and what to do about it.
 */
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { HEADER_LENGTH, readInfer, writeInfer } from './oip-infer.ts';
import {
  EXTENSIONS,
  modelConfig,
  modelMetadata,
  modelNamed,
  modelStatistics,
  type OipModels,
  repositoryIndex,
} from './oip-models.ts';
import { modelPath } from './oip-path.ts';

export interface OipRequest {
  method: string;
  /** Without query. */
  path: string;
  /** Lower-case names. */
  headers: ReadonlyMap<string, string>;
  body: Uint8Array;
}
export interface OipAnswer {
  status: number;
  type: string;
  body: string | Uint8Array;
  headers?: Readonly<Record<string, string>>;
}

const JSON_TYPE = 'application/json';
const BINARY_TYPE = 'application/octet-stream';

/** At once where nothing is inferred. @returns undefined when the path is not of this protocol. Never throws nor rejects. */
export function answerOip(
  models: OipModels,
  request: OipRequest,
): OipAnswer | Promise<OipAnswer> | undefined {
  try {
    return route(models, request);
  } catch (thrown) {
    return errorAnswer(thrown);
  }
}

/** `error` is what the protocol asks for; code and fix are ours. */
export function errorAnswer(thrown: unknown): OipAnswer {
  const { code, message, fix } = asSkeinError(thrown);
  const body = { error: `${code}: ${message}`, code, ...(fix ? { fix } : {}) };
  return jsonAnswer(body, STATUS[code] ?? 500);
}

const STATUS: Partial<Record<SkeinError['code'], number>> = {
  UNAUTHENTICATED: 401,
  NOT_FOUND: 404,
  REQUEST_INVALID: 400,
  TENSOR_INVALID: 400,
  INPUT_NOT_FINITE: 400,
  IMAGE_INVALID: 400,
  IMAGE_TOO_LARGE: 413,
  PAYLOAD_TOO_LARGE: 413,
  OVERLOADED: 503,
  BACKEND_UNAVAILABLE: 503,
  BACKEND_BUSY: 503,
  MODEL_TIMEOUT: 504,
};

export const jsonAnswer = (body: unknown, status = 200): OipAnswer => ({
  status,
  type: JSON_TYPE,
  body: `${JSON.stringify(body)}\n`,
});
const readyAnswer = (ready: boolean): OipAnswer => jsonAnswer({ ready }, ready ? 200 : 503);

function route(models: OipModels, request: OipRequest): OipAnswer | Promise<OipAnswer> | undefined {
  const { path, method } = request;
  if (!path.startsWith('/v2')) return undefined;
  const { name, version, action } = modelPath(path);
  if (name === 'stats' && version === undefined && action === '') return allStatistics(models, method);
  if (name === undefined) return serverRoute(models, request);
  const model = modelNamed(models, name, version);
  if (action === 'infer') return method === 'POST' ? infer(models, model, request) : notAllowed(request);
  if (method !== 'GET' && method !== 'HEAD') return notAllowed(request);
  if (action === '') return jsonAnswer(modelMetadata(model));
  if (action === 'ready') return readyAnswer(models.modelReady(model.manifest.name));
  if (action === 'config') return jsonAnswer(modelConfig(model));
  if (action === 'stats') return jsonAnswer({ model_stats: statisticsOf(models, [model]) });
  return notServed(path);
}

function serverRoute(models: OipModels, request: OipRequest): OipAnswer | undefined {
  const { path, method } = request;
  const get = method === 'GET' || method === 'HEAD';
  if (path === '/v2/repository/index') {
    if (method !== 'POST') return notAllowed(request);
    return jsonAnswer(repositoryIndex(models.all(), (name) => models.modelReady(name)));
  }
  if (/^\/v2\/(repository\/models\/|systemsharedmemory|cudasharedmemory|trace|logging)/.test(path))
    return notServed(path);
  if (path !== '/v2' && path !== '/v2/' && !path.startsWith('/v2/health/')) return undefined;
  if (!get) return notAllowed(request);
  if (path === '/v2/health/live') return jsonAnswer({ live: true });
  if (path === '/v2/health/ready') return readyAnswer(models.ready());
  if (path.startsWith('/v2/health/')) return undefined;
  return jsonAnswer({ name: 'skein-agent', version: models.version, extensions: EXTENSIONS });
}

const notAllowed = ({ method, path }: OipRequest): OipAnswer =>
  jsonAnswer(
    { error: `REQUEST_INVALID: ${method} is not possible at ${path}`, code: 'REQUEST_INVALID' },
    405,
  );

/** Honest about Triton's extensions that a device has no use for. */
const notServed = (path: string): OipAnswer => {
  const fix = /\/repository\/models\//.test(path)
    ? 'Models come to a device by signed orders: `skein rollouts create`.'
    : 'GET /v2 lists the extensions that are served.';
  return jsonAnswer({ error: `NOT_FOUND: ${path} is not served here`, code: 'NOT_FOUND', fix }, 404);
};

const statisticsOf = (models: OipModels, wanted: readonly CurrentModel[]) =>
  wanted.flatMap((model) => {
    const statistics = models.statistics(model.manifest.name);
    return statistics ? [modelStatistics(model, statistics)] : [];
  });

const allStatistics = (models: OipModels, method: string): OipAnswer =>
  method === 'GET' || method === 'HEAD'
    ? jsonAnswer({ model_stats: statisticsOf(models, models.all()) })
    : notAllowed({ method, path: '/v2/models/stats', headers: new Map(), body: new Uint8Array() });

/** One object for one length: by it `http-answer.ts` knows a head again. */
let latestHeaders = { length: 0, headers: {} };

function lengthHeaders(length: Bytes): Readonly<Record<string, string>> {
  if (latestHeaders.length !== length)
    latestHeaders = { length, headers: { 'Inference-Header-Content-Length': String(length) } };
  return latestHeaders.headers;
}

/** Never rejects. */
async function infer(models: OipModels, model: CurrentModel, request: OipRequest): Promise<OipAnswer> {
  try {
    const call = readInfer(request.body, request.headers.get(HEADER_LENGTH), model);
    const options = call.timeoutMs === undefined ? {} : { timeoutMs: call.timeoutMs };
    const result = await models.predict(model.manifest.name, call.inputs, options);
    const { body, headerLength } = writeInfer(call, model, result);
    if (headerLength === undefined) return { status: 200, type: JSON_TYPE, body };
    return { status: 200, type: BINARY_TYPE, headers: lengthHeaders(headerLength), body };
  } catch (thrown) {
    return errorAnswer(thrown);
  }
}
