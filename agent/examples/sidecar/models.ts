/**
 * The part that you replace by your vendor's SDK: from bytes to a model, and from tensors to tensors. Here it is
 * onnxruntime on the CPU. What must stay: the file is read once, what was read is hashed, and those very bytes are
 * loaded; so the hash that is told is the hash of what runs.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import * as ort from 'onnxruntime-node';
import { Refusal, type WireTensor } from './wire.ts';

// Official builds report to their maker which models run, unless this is set before the first session.
process.env.ORT_DISABLE_TELEMETRY = '1';

/** Where `sdk` and `target` of GET /v2 come from: ask your runtime and your device. */
export const SDK = ort.env.versions.node ?? '0';
export const TARGET = `cpu-${process.arch}`;

const MAX_FILE = 2 ** 31;

const DATATYPES: Readonly<Record<string, string>> = {
  bool: 'BOOL',
  int8: 'INT8',
  uint8: 'UINT8',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
};

export interface Declared {
  name: string;
  datatype: string;
  /** -1: any size. */
  shape: number[];
}

export interface LoadedFile {
  /** Of the bytes that the runtime got. */
  sha256: string;
  inputs: Declared[];
  outputs: Declared[];
  infer(inputs: readonly WireTensor[]): Promise<WireTensor[]>;
  close(): Promise<void>;
}

/** @throws Refusal */
export async function loadFile(path: string, format: string, threads: number): Promise<LoadedFile> {
  if (format !== 'onnx') throw new Refusal(400, 'MODEL_INVALID', `this sidecar loads onnx, not ${format}`);
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile())
    throw new Refusal(
      503,
      'BACKEND_UNAVAILABLE',
      `this sidecar can not read ${path}: check its user and group`,
    );
  if (found.size > MAX_FILE) throw new Refusal(400, 'MODEL_INVALID', `${found.size} bytes are too many`);
  return loadBytes(await readFile(path), threads);
}

/** @throws Refusal */
export async function loadBytes(bytes: Uint8Array, threads: number): Promise<LoadedFile> {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
  }).catch((error: Error) => {
    throw new Refusal(400, 'MODEL_INVALID', error.message);
  });
  return {
    sha256,
    inputs: session.inputMetadata.map(declared),
    outputs: session.outputMetadata.map(declared),
    infer: (inputs) => infer(session, inputs),
    close: () => session.release(),
  };
}

function declared(meta: ort.InferenceSession.ValueMetadata): Declared {
  const datatype = meta.isTensor ? DATATYPES[meta.type] : undefined;
  if (!meta.isTensor || !datatype)
    throw new Refusal(400, 'MODEL_INVALID', `\`${meta.name}\` has a type that can not cross`);
  return {
    name: meta.name,
    datatype,
    shape: meta.shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  };
}

type Elements = new (buffer: ArrayBufferLike, offset: number, length: number) => ort.Tensor['data'];
const ARRAYS: Readonly<Record<string, { of: Elements; bytes: number }>> = {
  bool: { of: Uint8Array as unknown as Elements, bytes: 1 },
  int8: { of: Int8Array as unknown as Elements, bytes: 1 },
  uint8: { of: Uint8Array as unknown as Elements, bytes: 1 },
  int32: { of: Int32Array as unknown as Elements, bytes: 4 },
  int64: { of: BigInt64Array as unknown as Elements, bytes: 8 },
  float16: { of: Uint16Array as unknown as Elements, bytes: 2 },
  float32: { of: Float32Array as unknown as Elements, bytes: 4 },
  float64: { of: Float64Array as unknown as Elements, bytes: 8 },
};

/** float16 goes in as its bits: of the Float16Array that `Tensor` makes of them the binding sees nothing. */
function feedOf(type: string, data: ort.Tensor['data'], shape: number[]): ort.Tensor {
  if (type !== 'float16') return new ort.Tensor(type as 'float32', data as Float32Array, shape);
  return Object.assign(new ort.Tensor('uint16', data as Uint16Array, shape), { type });
}

async function infer(session: ort.InferenceSession, inputs: readonly WireTensor[]): Promise<WireTensor[]> {
  const feeds: Record<string, ort.Tensor> = {};
  for (const { name, datatype, shape, bytes } of inputs) {
    const type = Object.keys(DATATYPES).find((known) => DATATYPES[known] === datatype)!;
    const { of: View, bytes: width } = ARRAYS[type]!;
    const data = new View(bytes.buffer, 0, bytes.length / width);
    feeds[name] = feedOf(type, data, shape);
  }
  const results = await session.run(feeds);
  return session.outputNames.map((name) => {
    const { type, dims, data } = results[name]!;
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    return {
      name,
      datatype: DATATYPES[type]!,
      shape: [...dims],
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
    };
  });
}
