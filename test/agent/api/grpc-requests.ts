/** Requests to the models of served-models.ts. */
import type { Message } from './grpc-client.ts';

const COUNT = Int32Array.from({ length: 16 }, (_, i) => i);

export const bytesOf = (data: ArrayBufferView): Buffer =>
  Buffer.from(data.buffer, data.byteOffset, data.byteLength);

export const int32 = (name: string, more: Message = {}): Message => ({
  ...{ name, datatype: 'INT32', shape: [1, 16] },
  ...more,
});

/** 0…15 in both inputs. */
export const simple = (more: Message = {}): Message => ({
  model_name: 'simple',
  inputs: [int32('INPUT0'), int32('INPUT1')],
  raw_input_contents: [bytesOf(COUNT), bytesOf(COUNT)],
  ...more,
});

export const int32sOf = (answer: Message, index: number): number[] => {
  const bytes = (answer.raw_output_contents as Buffer[])[index]!;
  return [...new Int32Array(new Uint8Array(bytes).buffer)];
};

export const slow = (rows: number): Message => ({
  model_name: 'slow',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [rows, 512] }],
  raw_input_contents: [Buffer.alloc(rows * 512 * 4)],
});
/** Takes some 50 ms. */
export const SLOW = slow(64);
