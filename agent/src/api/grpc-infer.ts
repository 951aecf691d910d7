/**
 * An inference request of gRPC and its answer as values. Every tensor may come in raw_input_contents (all of them, in the
 * order of `inputs`) or in its own typed contents; answers are always raw, as Triton's are.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Tensor, Tensors } from '../inference/backend.ts';
import type { CurrentModel } from '../inference/engine.ts';
import { tensorOfContents } from './grpc-contents.ts';
import type { InferInput, InferParameter, InferRequest, InferResponse } from './grpc-schema.ts';
import { bytesOfTensor, DATATYPES, tensorOfBytes } from './oip-bytes.ts';
import { classBytes, classesOf, labelsOf } from './oip-classes.ts';
import type { InferResult } from './oip-models.ts';

const MAX_DIMS = 8;

const invalid = (what: string): SkeinError => new SkeinError('REQUEST_INVALID', what);
const wrong = (name: string, what: string): SkeinError =>
  new SkeinError('TENSOR_INVALID', `input \`${name}\` ${what}`, {
    fix: 'ModelMetadata names the inputs that the model takes, with type and shape.',
    data: { name },
  });

/** @throws SkeinError REQUEST_INVALID, TENSOR_INVALID, naming tensor, expected and found */
export function inputsOf(request: InferRequest, { loaded }: CurrentModel): Tensors {
  const { inputs, raw_input_contents: raw } = request;
  if (raw.length > 0 && raw.length !== inputs.length)
    throw invalid(`raw_input_contents has ${raw.length} entries for ${inputs.length} inputs`);
  const tensors: Record<string, Tensor> = {};
  for (const [i, input] of inputs.entries()) {
    const spec = specOf(input, loaded.inputs);
    if (Object.hasOwn(tensors, spec.name)) throw wrong(spec.name, 'is there twice');
    tensors[spec.name] = tensorOf(input, spec, raw[i]);
  }
  return tensors;
}

function specOf({ name, datatype, parameters }: InferInput, specs: readonly TensorSpec[]): TensorSpec {
  const spec = specs.find((candidate) => candidate.name === name);
  if (!spec)
    throw wrong(name, `is none of the model’s: it takes ${specs.map((each) => each.name).join(', ')}`);
  refuseSharedMemory(name, parameters);
  const takes = DATATYPES[spec.type];
  if (datatype === 'BYTES')
    throw wrong(name, `is BYTES, the model takes ${takes}: strings and encoded images are not tensors here`);
  if (datatype !== takes) throw wrong(name, `is ${datatype || 'of no type'}, the model takes ${takes}`);
  return spec;
}

function refuseSharedMemory(name: string, parameters: Record<string, InferParameter>): void {
  if (Object.hasOwn(parameters, 'shared_memory_region'))
    throw invalid(`\`${name}\` is in shared memory, which this server does not take: send it in the message`);
}

function tensorOf(
  { name, shape, contents }: InferInput,
  spec: TensorSpec,
  raw: Uint8Array | undefined,
): Tensor {
  const dims = shape.map(Number);
  if (dims.length > MAX_DIMS || !dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw wrong(name, `has shape [${dims.slice(0, MAX_DIMS + 1).join(', ')}], which is none`);
  if (raw && contents.length > 0) throw wrong(name, 'has both raw and typed contents');
  if (raw) return tensorOfBytes(spec, dims, raw);
  return tensorOfContents(spec, dims, contents);
}

export interface WantedOutput {
  name: string;
  /** Number of classes instead of the tensor; 0: the tensor. */
  classes: number;
}

/** What is asked for; every output when none is named. @throws SkeinError REQUEST_INVALID */
export function wantedOutputs({ outputs }: InferRequest, { loaded }: CurrentModel): WantedOutput[] {
  const known = loaded.outputs.map((output) => output.name);
  if (outputs.length === 0) return known.map((name) => ({ name, classes: 0 }));
  return outputs.map(({ name, parameters }, i) => {
    if (!known.includes(name)) throw invalid(`output \`${name}\` is not one of ${known.join(', ')}`);
    if (outputs.findIndex((output) => output.name === name) < i)
      throw invalid(`output \`${name}\` is asked for twice`);
    refuseSharedMemory(name, parameters);
    return { name, classes: Math.max(0, integerOf(parameters, 'classification')) };
  });
}

const integerOf = (parameters: Record<string, InferParameter>, key: string): number =>
  Object.hasOwn(parameters, key) ? Number(parameters[key]!.int64_param ?? 0) : 0;

/** The nearer of the call's deadline and Triton's `timeout` parameter, which is in microseconds. */
export function timeoutOf(
  { parameters }: InferRequest,
  deadlineMs: Millis | undefined,
): { timeoutMs?: Millis } {
  const micros = integerOf(parameters, 'timeout');
  const limits = [deadlineMs, micros > 0 ? Math.max(1, micros / 1000) : undefined];
  const given = limits.filter((limit) => limit !== undefined);
  return given.length > 0 ? { timeoutMs: Math.min(...given) } : {};
}

export function responseOf(
  { id, model_name }: InferRequest,
  { manifest }: CurrentModel,
  { outputs, version, inputsFinite = true }: InferResult,
  wanted: readonly WantedOutput[],
): InferResponse {
  const answers = wanted.map(({ name, classes }) => {
    const { [name]: tensor } = outputs as Record<string, Tensor>;
    if (classes > 0) {
      const { shape, texts } = classesOf(tensor!, classes, labelsOf(manifest, name));
      return { output: { name, datatype: 'BYTES', shape }, bytes: classBytes(texts) };
    }
    const { type, dims: shape } = tensor!;
    return { output: { name, datatype: DATATYPES[type], shape }, bytes: bytesOfTensor(tensor!) };
  });
  return {
    ...{ model_name, model_version: version, id: id.toWellFormed() },
    parameters: inputsFinite ? {} : { inputs_finite: { bool_param: false } },
    outputs: answers.map(({ output }) => output),
    raw_output_contents: answers.map(({ bytes }) => bytes),
  };
}
