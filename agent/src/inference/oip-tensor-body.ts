/**
 * The infer call of the Open Inference Protocol with the binary tensor extension, seen from the client. Request and
 * answer are a JSON object followed by the tensors' bytes in the order in which the object names them: little-endian,
 * row-major, no padding; `Inference-Header-Content-Length` is the length of the object.
 * An answer is believed only as far as it is what was asked: model, version, every output with the type and a shape that
 * the model declares, exactly as many bytes as that shape needs, and no byte more.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { checker, recordOf } from '@skein/protocol/schema.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { DATATYPES } from '../api/oip-bytes.ts';
import type { Tensor, Tensors } from './backend.ts';
import { elementCount, viewOf } from './tensors.ts';

export const HEADER_LENGTH = 'inference-header-content-length';
const MAX_HEADER: Bytes = MIB;

export interface InferBody {
  headers: Record<string, string>;
  parts: Uint8Array[];
}

export function inferBody(inputs: Tensors, outputs: readonly TensorSpec[]): InferBody {
  const entries = Object.entries(inputs);
  const parts = entries.map(
    ([, { data }]) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength) as Uint8Array,
  );
  const header = {
    inputs: entries.map(([name, { type, dims }], i) => ({
      name,
      shape: dims,
      datatype: DATATYPES[type],
      parameters: { binary_data_size: parts[i]!.length },
    })),
    outputs: outputs.map(({ name }) => ({ name, parameters: { binary_data: true } })),
  };
  const json = Buffer.from(JSON.stringify(header));
  const headers = { 'content-type': 'application/octet-stream', [HEADER_LENGTH]: String(json.length) };
  return { headers, parts: [json, ...parts] };
}

const Answer = checker(
  Type.Object({
    model_name: Type.Optional(Type.String()),
    model_version: Type.Optional(Type.String()),
    parameters: Type.Optional(recordOf(Type.Unknown())),
    outputs: Type.Array(
      Type.Object({
        name: Type.String(),
        datatype: Type.String(),
        shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 }),
        data: Type.Optional(Type.Array(Type.Unknown())),
        parameters: Type.Optional(recordOf(Type.Unknown())),
      }),
      { maxItems: 64 },
    ),
  }),
  'BACKEND_FAULT',
  MAX_HEADER,
);

/** What the answer must be about. */
export interface Asked {
  model: string;
  version: string | null;
  /** Compared when the answer names the hash of the model that gave it. */
  sha256: string;
  outputs: readonly TensorSpec[];
}

const wrong = (message: string): SkeinError => new SkeinError('BACKEND_FAULT', message);

/** @throws SkeinError BACKEND_FAULT, naming what is wrong and where */
export function readInferAnswer(asked: Asked, headers: Record<string, unknown>, body: Uint8Array): Tensors {
  const length = Number(headers[HEADER_LENGTH] ?? body.length);
  if (!Number.isInteger(length) || length < 2 || length > body.length)
    throw wrong(`an answer of ${body.length} bytes claims a header of ${headers[HEADER_LENGTH]}`);
  const answer = Answer.parse(body.subarray(0, length), `answer of ${asked.model}`);
  const named = [
    ['model_name', answer.model_name, asked.model],
    ['model_version', answer.model_version, asked.version],
    ['parameters.sha256', answer.parameters?.sha256, asked.sha256],
  ] as const;
  for (const [key, found, expected] of named) {
    if (found !== undefined && expected !== null && found !== expected)
      throw wrong(`asked ${expected}, answered by ${key} ${String(found).slice(0, 80)}`);
  }
  const binary = body.subarray(length);
  const tensors: Record<string, Tensor> = {};
  let offset = 0;
  for (const output of answer.outputs) {
    const spec = asked.outputs.find(({ name }) => name === output.name);
    if (!spec) throw wrong(`an output \`${output.name.slice(0, 80)}\` was not asked for`);
    checkOutput(spec, output);
    const [tensor, used] = readOutput(spec, output, binary, offset);
    tensors[spec.name] = tensor;
    offset += used;
  }
  const absent = asked.outputs.find(({ name }) => !Object.hasOwn(tensors, name));
  if (absent) throw wrong(`output \`${absent.name}\` is missing`);
  if (offset !== binary.length) throw wrong(`${binary.length - offset} bytes too many behind the outputs`);
  return tensors;
}

type Output = ReturnType<typeof Answer.check>['outputs'][number];

function checkOutput(spec: TensorSpec, { name, datatype, shape }: Output): void {
  if (datatype !== DATATYPES[spec.type])
    throw wrong(`output \`${name}\` is ${datatype.slice(0, 20)}, ${DATATYPES[spec.type]} was declared`);
  const fits =
    shape.length === spec.shape.length &&
    spec.shape.every((dim, axis) => dim < 0 || dim === shape[axis]) &&
    elementCount(shape) <= 2 ** 28;
  if (!fits) throw wrong(`output \`${name}\` has shape [${shape}], [${spec.shape}] was declared`);
}

function readOutput(spec: TensorSpec, output: Output, binary: Uint8Array, offset: Bytes): [Tensor, Bytes] {
  const count = elementCount(output.shape);
  const size = output.parameters?.binary_data_size;
  const { type } = spec;
  if (size === undefined) return [{ type, dims: output.shape, data: fromJson(spec, output, count) }, 0];
  const width = viewOf(type, new ArrayBuffer(8), 0, 1).BYTES_PER_ELEMENT;
  if (size !== count * width || offset + size > binary.length)
    throw wrong(
      `output \`${spec.name}\` [${output.shape}] needs ${count * width} bytes, ${String(size)} are said and ${binary.length - offset} are there`,
    );
  // Copied: the answer's buffer is not aligned and should not outlive the tensors it does not hold.
  const own = new Uint8Array(size);
  own.set(binary.subarray(offset, offset + size));
  return [{ type, dims: output.shape, data: viewOf(type, own.buffer, 0, count) }, size];
}

/** Servers without the binary extension answer in JSON, flat. */
function fromJson(spec: TensorSpec, { data }: Output, count: number): Tensor['data'] {
  if (spec.type === 'float16') throw wrong(`output \`${spec.name}\`: FP16 has no JSON`);
  if (data?.length !== count) throw wrong(`output \`${spec.name}\` has ${data?.length} values, not ${count}`);
  const view = viewOf(spec.type, new ArrayBuffer(count * 8), 0, count);
  for (const [i, value] of data.entries()) {
    if (typeof value !== 'number' && typeof value !== 'boolean' && value !== null)
      throw wrong(`output \`${spec.name}\`[${i}] is no number`);
    const number = value === null ? Number.NaN : Number(value);
    (view as unknown as unknown[])[i] = spec.type === 'int64' ? BigInt(Math.trunc(number || 0)) : number;
  }
  return view;
}
