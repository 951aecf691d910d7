/**
 * Open Inference Protocol v2 over REST, JSON tensors (github.com/kserve/open-inference-protocol, specification 2.0).
 * Pure: a request in, an answer out. Errors are `{"error": "…"}` as the protocol says and name tensor, expected and found
 * shape.
 */
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { modelMetadata, modelNamed, type OipModels } from './oip-models.ts';
import { invalid, isObject, readTensor, writeTensor } from './oip-tensors.ts';

export interface OipRequest {
  method: string;
  /** Without query. */
  path: string;
  /** Parsed JSON of a POST. */
  body?: unknown;
}
export interface OipAnswer {
  status: number;
  body: unknown;
}

const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(\/ready|\/infer)?$/;

/** @returns undefined when the path is not of this protocol. Never rejects. */
export async function answerOip(models: OipModels, request: OipRequest): Promise<OipAnswer | undefined> {
  try {
    return await route(models, request);
  } catch (thrown) {
    const error = asSkeinError(thrown);
    return { status: statusOf(error), body: errorBody(error) };
  }
}

/** `error` is what the protocol asks for; code and fix are ours. */
export const errorBody = (error: SkeinError) => ({
  error: `${error.code}: ${error.message}`,
  code: error.code,
  ...(error.fix ? { fix: error.fix } : {}),
});

const STATUS: Partial<Record<SkeinError['code'], number>> = {
  NOT_FOUND: 404,
  REQUEST_INVALID: 400,
  TENSOR_INVALID: 400,
  INPUT_NOT_FINITE: 400,
  PAYLOAD_TOO_LARGE: 413,
  OVERLOADED: 503,
  MODEL_TIMEOUT: 504,
};
export const statusOf = (error: SkeinError): number => STATUS[error.code] ?? 500;

async function route(models: OipModels, { method, path, body }: OipRequest): Promise<OipAnswer | undefined> {
  const get = method === 'GET' || method === 'HEAD';
  if (path === '/v2' && get) return ok({ name: 'skein-agent', version: models.version, extensions: [] });
  if (path === '/v2/health/live' && get) return ok({ live: true });
  if (path === '/v2/health/ready' && get) return readyAnswer(models.ready());
  const [, name = '', version, action] = MODEL_PATH.exec(path) ?? [];
  if (!name) return undefined;
  const model = modelNamed(models, decodeURIComponent(name), version);
  if (!action && get) return ok(modelMetadata(model));
  if (action === '/ready' && get) return readyAnswer(models.modelReady(model.manifest.name));
  if (action === '/infer' && method === 'POST') return ok(await infer(models, model, body));
  return { status: 405, body: { error: `${method} is not possible here` } };
}

const ok = (body: unknown): OipAnswer => ({ status: 200, body });
const readyAnswer = (ready: boolean): OipAnswer => ({ status: ready ? 200 : 503, body: { ready } });

async function infer(models: OipModels, model: CurrentModel, body: unknown): Promise<unknown> {
  if (!isObject(body) || !Array.isArray(body.inputs)) throw invalid('the body has no `inputs` array');
  const wanted = requestedOutputs(body.outputs, model);
  const inputs = Object.fromEntries(body.inputs.map((input) => readTensor(input, model.loaded.inputs)));
  const { outputs, version } = await models.predict(model.manifest.name, inputs);
  return {
    model_name: model.manifest.name,
    model_version: version,
    ...(typeof body.id === 'string' ? { id: body.id } : {}),
    outputs: wanted.map((name) => writeTensor(name, outputs[name]!)),
  };
}

function requestedOutputs(outputs: unknown, model: CurrentModel): string[] {
  const known = model.loaded.outputs.map((output) => output.name);
  if (outputs === undefined) return known;
  if (!Array.isArray(outputs)) throw invalid('`outputs` is not an array');
  return outputs.map((output: unknown) => {
    const name = isObject(output) ? output.name : undefined;
    if (typeof name === 'string' && known.includes(name)) return name;
    throw invalid(`output \`${name}\` is not one of ${known.join(', ')}`);
  });
}
