/**
 * Open Inference Protocol v2 over REST, JSON tensors (github.com/kserve/open-inference-protocol, specification 2.0).
 * Pure: a request in, an answer out. Errors are `{"error": "…"}` as the protocol says and name tensor, expected and found
 * shape. A tensor's data may be flat or nested; a nested one must have its shape.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensor, TensorData, Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';

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

/** What the protocol needs of the agent. */
export interface OipModels {
  version: string;
  ready(): boolean;
  current(model: string): CurrentModel | undefined;
  /** Is this model giving its golden answers? */
  modelReady(model: string): boolean;
  predict(model: string, inputs: Tensors): Promise<{ outputs: Tensors; version: string }>;
}

const DATATYPES: Record<TensorSpec['type'], string> = {
  float32: 'FP32',
  float64: 'FP64',
  float16: 'FP16',
  int8: 'INT8',
  uint8: 'UINT8',
  int32: 'INT32',
  int64: 'INT64',
  bool: 'BOOL',
};
const MAKERS: Partial<Record<TensorSpec['type'], (values: number[]) => TensorData>> = {
  float32: (values) => Float32Array.from(values),
  float64: (values) => Float64Array.from(values),
  int8: (values) => Int8Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  int32: (values) => Int32Array.from(values),
  int64: (values) => BigInt64Array.from(values, BigInt),
  bool: (values) => Uint8Array.from(values),
};

const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(\/ready|\/infer)?$/;

/** @returns undefined when the path is not of this protocol. Never rejects. */
export async function answerOip(models: OipModels, request: OipRequest): Promise<OipAnswer | undefined> {
  try {
    return await route(models, request);
  } catch (thrown) {
    const error = asSkeinError(thrown);
    return { status: statusOf(error), body: { error: `${error.code}: ${error.message}` } };
  }
}

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
  if (!action && get) return ok(metadata(model));
  if (action === '/ready' && get) return readyAnswer(models.modelReady(model.manifest.name));
  if (action === '/infer' && method === 'POST') return ok(await infer(models, model, body));
  return { status: 405, body: { error: `${method} is not possible here` } };
}

const ok = (body: unknown): OipAnswer => ({ status: 200, body });
const readyAnswer = (ready: boolean): OipAnswer => ({ status: ready ? 200 : 503, body: { ready } });

function modelNamed(models: OipModels, name: string, version: string | undefined): CurrentModel {
  const model = models.current(name);
  if (model && (version === undefined || version === model.manifest.version)) return model;
  const what = model
    ? `${name} runs version ${model.manifest.version}, not ${version}`
    : `no model ${name} is active`;
  throw new SkeinError('NOT_FOUND', what, { fix: '`skein-agent status` lists the models that run.' });
}

const tensorView = ({ name, type, shape }: TensorSpec) => ({ name, datatype: DATATYPES[type], shape });

const metadata = ({ manifest, loaded }: CurrentModel) => ({
  name: manifest.name,
  versions: [manifest.version],
  platform: 'onnxruntime_onnx',
  inputs: loaded.inputs.map(tensorView),
  outputs: loaded.outputs.map(tensorView),
});

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (what: string): SkeinError =>
  new SkeinError('REQUEST_INVALID', what, {
    fix: 'Send {"inputs":[{"name","shape","datatype","data"}]} as the Open Inference Protocol v2 says.',
  });

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

function readTensor(input: unknown, specs: readonly TensorSpec[]): [string, Tensor] {
  if (!isObject(input) || typeof input.name !== 'string') throw invalid('an input has no `name`');
  const { name, shape, datatype, data } = input;
  const spec = specs.find((candidate) => candidate.name === name);
  if (!spec)
    throw new SkeinError(
      'TENSOR_INVALID',
      `the model has no input \`${name}\`; it takes ${specs.map((s) => s.name).join(', ')}`,
    );
  if (!isShape(shape)) throw invalid(`input \`${name}\`: \`shape\` is not a list of sizes`);
  if (datatype !== DATATYPES[spec.type])
    throw new SkeinError(
      'TENSOR_INVALID',
      `input \`${name}\` is ${datatype}, the model takes ${DATATYPES[spec.type]}`,
    );
  const make = MAKERS[spec.type];
  if (!make) throw new SkeinError('TENSOR_INVALID', `input \`${name}\`: ${datatype} cannot be sent as JSON`);
  return [name, { type: spec.type, dims: shape, data: make(flatten(name, data, shape)) }];
}

const isShape = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 8 && value.every((dim) => Number.isInteger(dim) && dim >= 0);

const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Row-major values of flat or nested data. @throws SkeinError TENSOR_INVALID */
function flatten(name: string, data: unknown, shape: number[]): number[] {
  if (!Array.isArray(data)) throw invalid(`input \`${name}\`: \`data\` is not an array`);
  const nested = Array.isArray(data[0]);
  if (nested) {
    const found = shapeOf(data);
    if (found.join() !== shape.join())
      throw new SkeinError(
        'TENSOR_INVALID',
        `input \`${name}\`: data is ${shapeText(found)}, shape says ${shapeText(shape)}`,
      );
  }
  const values: unknown[] = nested ? data.flat(8) : data;
  const count = shape.reduce((product, dim) => product * dim, 1);
  if (values.length !== count)
    throw new SkeinError(
      'TENSOR_INVALID',
      `input \`${name}\` has ${values.length} values, shape ${shapeText(shape)} needs ${count}`,
    );
  return values.map((value, i) => numberAt(name, value, i));
}

function numberAt(name: string, value: unknown, index: number): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  throw new SkeinError(
    'INPUT_NOT_FINITE',
    `input \`${name}\`[${index}] is ${JSON.stringify(value)}, not a finite number`,
  );
}

function shapeOf(data: unknown): number[] {
  const shape: number[] = [];
  for (let at = data; Array.isArray(at) && shape.length < 9; at = at[0]) shape.push(at.length);
  return shape;
}

/** NaN and infinities have no JSON; they become null. */
function writeTensor(name: string, tensor: Tensor) {
  const data = Array.from(tensor.data as ArrayLike<number | bigint>, (value) =>
    typeof value === 'bigint' ? Number(value) : Number.isFinite(value) ? value : null,
  );
  return { name, datatype: DATATYPES[tensor.type], shape: tensor.dims, data };
}
