/**
 * One infer call of the Open Inference Protocol v2 over REST. Pure: the body's bytes in, the answer's bytes out.
 *
 *   request   JSON of `Inference-Header-Content-Length` bytes (the whole body when it is not given), then the bytes of
 *             the inputs that have `binary_data_size`; a length of 0: no JSON, the body is the model's only input
 *   answer    the same way round; JSON alone when no output was asked for as bytes
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { parseBounded } from '../bounded-json.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { elementBytes, elementCount } from '../inference/tensors.ts';
import { bytesOfTensor, DATATYPES } from './oip-bytes.ts';
import { classBytes, classesOf, labelsOf } from './oip-classes.ts';
import type { InferResult } from './oip-models.ts';
import { MAX_REPEATED, Repeated } from './oip-repeat.ts';
import { invalid, isObject, readTensor, TensorBytes, writeTensor } from './oip-tensors.ts';

export const HEADER_LENGTH = 'inference-header-content-length';

interface WantedOutput {
  name: string;
  binary: boolean;
  /** Number of classes instead of the tensor; 0: the tensor. */
  classes: number;
}

/** What the JSON says besides the inputs. */
interface Asked {
  id: string | undefined;
  outputs: WantedOutput[];
  timeoutMs: Millis | undefined;
}

export interface InferCall extends Asked {
  inputs: Tensors;
  /** Of a call whose inputs all came as bytes. */
  repeated?: Repeated<Asked>;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return parseBounded(decoder.decode(bytes));
  } catch (cause) {
    throw cause instanceof SkeinError ? cause : invalid('the body is not JSON');
  }
}

function headerLength(text: string | undefined, bytes: Bytes): Bytes {
  if (text === undefined) return bytes;
  if (/^\d{1,9}$/.test(text) && Number(text) <= bytes) return Number(text);
  throw invalid(`Inference-Header-Content-Length is \`${text.slice(0, 40)}\`, the body has ${bytes} bytes`);
}

/** The latest call of each loaded model that may come again. */
const latest = new WeakMap<CurrentModel['loaded'], Repeated<Asked>>();

/** @throws SkeinError REQUEST_INVALID, PAYLOAD_TOO_LARGE, TENSOR_INVALID, INPUT_NOT_FINITE */
export function readInfer(body: Uint8Array, lengthText: string | undefined, model: CurrentModel): InferCall {
  const length = headerLength(lengthText, body.length);
  if (length === 0) return { ...rawCall(body, model), timeoutMs: undefined };
  const header = body.subarray(0, length);
  const rest = body.subarray(length);
  const repeated = latest.get(model.loaded);
  const inputs = repeated?.inputsOf(header, rest);
  if (!repeated || !inputs) return readFirst(header, rest, model);
  const { id, outputs, timeoutMs } = repeated.call;
  return { id, inputs, outputs, timeoutMs, repeated };
}

function readFirst(header: Uint8Array, rest: Uint8Array, model: CurrentModel): InferCall {
  const request = jsonOf(header);
  if (!isObject(request) || !Array.isArray(request.inputs)) throw invalid('the body has no `inputs` array');
  const bytes = new TensorBytes(rest);
  const inputs: Record<string, Tensor> = {};
  const sizes: ConstructorParameters<typeof Repeated>[1][number][] = [];
  for (const input of request.inputs.slice(0, 64)) {
    const [name, tensor] = readTensor(input, model.loaded.inputs, bytes);
    if (Object.hasOwn(inputs, name)) throw invalid(`input \`${name}\` comes twice`);
    inputs[name] = tensor;
    sizes.push({ name, type: tensor.type, dims: tensor.dims, size: tensor.data.byteLength });
  }
  if (bytes.left > 0) throw invalid(`${bytes.left} bytes too many behind the inputs`);
  const parameters = isObject(request.parameters) ? request.parameters : {};
  const asked: Asked = {
    id: typeof request.id === 'string' ? request.id : undefined,
    outputs: wantedOutputs(request.outputs, parameters.binary_data_output === true, model),
    timeoutMs: timeoutOf(parameters.timeout),
  };
  const allBytes = sizes.reduce((sum, { size }) => sum + size, 0) === rest.length;
  if (!allBytes || header.length > MAX_REPEATED) return { ...asked, inputs };
  const repeated = new Repeated(header, sizes, asked);
  latest.set(model.loaded, repeated);
  return { ...asked, inputs, repeated };
}

/** Triton's request parameter, in microseconds. */
function timeoutOf(timeout: unknown): Millis | undefined {
  if (timeout === undefined || timeout === 0) return undefined;
  if (typeof timeout === 'number' && Number.isInteger(timeout) && timeout > 0) return timeout / 1000;
  throw invalid('parameter `timeout` is not a whole number of microseconds');
}

/** A body of nothing but the one input's bytes: as many rows as they fill. */
function rawCall(body: Uint8Array, model: CurrentModel): Omit<InferCall, 'timeoutMs'> {
  const { inputs, outputs } = model.loaded;
  const [spec] = inputs;
  if (!spec || inputs.length > 1) throw invalid('a body without JSON is for models with one input');
  const shape = rawShape(spec, body.length);
  const input = {
    name: spec.name,
    shape,
    datatype: DATATYPES[spec.type],
    parameters: { binary_data_size: body.length },
  };
  const [name, tensor] = readTensor(input, inputs, new TensorBytes(body));
  const wanted = outputs.map((output) => ({ name: output.name, binary: true, classes: 0 }));
  return { id: undefined, inputs: { [name]: tensor }, outputs: wanted };
}

function rawShape({ name, type, shape }: TensorSpec, bytes: Bytes): number[] {
  const free = shape.filter((dim) => dim < 0).length;
  if (free > 1 || (free === 1 && shape[0]! >= 0))
    throw invalid(`input \`${name}\` [${shape}] has free sizes that a body without JSON does not say`);
  const row = elementCount(shape.map((dim) => Math.max(1, dim))) * elementBytes(type);
  return free === 0 ? [...shape] : [Math.floor(bytes / row), ...shape.slice(1)];
}

function wantedOutputs(outputs: unknown, binaryByDefault: boolean, model: CurrentModel): WantedOutput[] {
  const known = model.loaded.outputs.map((output) => output.name);
  if (outputs === undefined || (Array.isArray(outputs) && outputs.length === 0))
    return known.map((name) => ({ name, binary: binaryByDefault, classes: 0 }));
  if (!Array.isArray(outputs)) throw invalid('`outputs` is not an array');
  return outputs.slice(0, 64).map((output: unknown) => {
    const name = isObject(output) ? output.name : undefined;
    if (typeof name !== 'string' || !known.includes(name))
      throw invalid(`output \`${String(name).slice(0, 80)}\` is not one of ${known.join(', ')}`);
    const parameters = isObject(output) && isObject(output.parameters) ? output.parameters : {};
    const { binary_data: binary = binaryByDefault, classification: classes = 0 } = parameters;
    if (typeof classes !== 'number' || !Number.isInteger(classes) || classes < 0)
      throw invalid(`output \`${name}\`: \`classification\` is not a number of classes`);
    return { name, binary: binary === true, classes };
  });
}

export interface InferAnswer {
  /** JSON and, behind it, the outputs that were asked for as bytes. */
  body: Uint8Array | string;
  /** Of the JSON, when there are bytes behind it. */
  headerLength: Bytes | undefined;
}

const encoder = new TextEncoder();

/** @throws SkeinError TENSOR_INVALID for outputs that JSON can not hold */
export function writeInfer(call: InferCall, model: CurrentModel, result: InferResult): InferAnswer {
  const { repeated } = call;
  const { version, outputs, inputsFinite = true } = result;
  const allBytes = call.outputs.every(({ binary, classes }) => binary && classes === 0);
  if (!repeated || !allBytes || !inputsFinite) return writeFirst(call, model, result);
  const tensors = call.outputs.map(({ name }) => outputs[name]!);
  const header = repeated.headerOf(version, tensors);
  if (header) return joined(header, tensors.map(bytesOfTensor));
  const answer = writeFirst(call, model, result);
  // A copy of its own: a Buffer's `slice` would keep the whole body.
  const head = Uint8Array.from((answer.body as Uint8Array).subarray(0, answer.headerLength));
  repeated.answered(version, tensors, head);
  return answer;
}

function writeFirst(
  { id, outputs: wanted }: InferCall,
  model: CurrentModel,
  { version, outputs, inputsFinite = true }: InferResult,
): InferAnswer {
  const parts: Uint8Array[] = [];
  const described = wanted.map(({ name, binary, classes }) => {
    const tensor = outputs[name]!;
    const output = classes > 0 ? classOutput(model, name, tensor, classes) : undefined;
    if (!binary)
      return output
        ? { name, datatype: 'BYTES', shape: output.shape, data: output.texts }
        : writeTensor(name, tensor);
    const bytes = output ? classBytes(output.texts) : bytesOfTensor(tensor);
    parts.push(bytes);
    return {
      name,
      datatype: output ? 'BYTES' : DATATYPES[tensor.type],
      shape: output?.shape ?? tensor.dims,
      parameters: { binary_data_size: bytes.length },
    };
  });
  const json = JSON.stringify({
    model_name: model.manifest.name,
    model_version: version,
    ...(id === undefined ? {} : { id }),
    ...(inputsFinite ? {} : { parameters: { inputs_finite: false } }),
    outputs: described,
  });
  return parts.length === 0 ? { body: json, headerLength: undefined } : joined(encoder.encode(json), parts);
}

const classOutput = ({ manifest }: CurrentModel, name: string, tensor: Tensor, classes: number) =>
  classesOf(tensor, classes, labelsOf(manifest, name));

function joined(header: Uint8Array, parts: readonly Uint8Array[]): InferAnswer {
  const body = Buffer.allocUnsafe(header.length + parts.reduce((sum, { length }) => sum + length, 0));
  body.set(header, 0);
  let at = header.length;
  for (const part of parts) {
    body.set(part, at);
    at += part.length;
  }
  return { body, headerLength: header.length };
}
