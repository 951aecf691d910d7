/**
 * Tensors on the wire: the Open Inference Protocol v2 with the binary tensor extension. A body is a JSON object, then
 * the bytes of the tensors in the order in which the object names them, little-endian, row-major, no padding.
 */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Bytes of one element. */
export const WIDTHS: Readonly<Record<string, number>> = {
  BOOL: 1,
  INT8: 1,
  UINT8: 1,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
};

export interface WireTensor {
  name: string;
  datatype: string;
  shape: number[];
  bytes: Uint8Array;
}

const bad = (message: string) => new Refusal(400, 'TENSOR_INVALID', message);

interface SentInput {
  name?: unknown;
  datatype?: unknown;
  shape?: unknown;
  parameters?: { binary_data_size?: unknown };
}

/** @param headerLength of `Inference-Header-Content-Length`; the whole body when there is none */
export function readInputs(body: Buffer, headerLength: number): WireTensor[] {
  if (!Number.isInteger(headerLength) || headerLength < 2 || headerLength > body.length)
    throw bad('Inference-Header-Content-Length does not fit the body');
  let header: { inputs?: SentInput[] };
  try {
    header = JSON.parse(body.subarray(0, headerLength).toString('utf8')) as typeof header;
  } catch {
    throw bad('the header is not JSON');
  }
  if (!Array.isArray(header.inputs)) throw bad('there are no `inputs`');
  let offset = headerLength;
  return header.inputs.map(({ name, datatype, shape, parameters }) => {
    const width = WIDTHS[String(datatype)];
    const size = parameters?.binary_data_size;
    if (typeof name !== 'string' || !width || !Array.isArray(shape))
      throw bad('an input lacks name, datatype or shape');
    const needed = (shape as number[]).reduce((product, dim) => product * dim, width);
    if (size !== needed || offset + needed > body.length)
      throw bad(`input \`${name}\` [${shape}] needs ${needed} bytes of binary data`);
    const bytes = new Uint8Array(needed);
    bytes.set(body.subarray(offset, offset + needed));
    offset += needed;
    return { name, datatype: String(datatype), shape: shape as number[], bytes };
  });
}

/** The answer's body and the length of its JSON part. */
export function writeOutputs(
  about: Record<string, unknown>,
  outputs: readonly WireTensor[],
): { body: Buffer; headerLength: number } {
  const header = Buffer.from(
    JSON.stringify({
      ...about,
      outputs: outputs.map(({ name, datatype, shape, bytes }) => ({
        name,
        datatype,
        shape,
        parameters: { binary_data_size: bytes.length },
      })),
    }),
  );
  return { body: Buffer.concat([header, ...outputs.map(({ bytes }) => bytes)]), headerLength: header.length };
}
