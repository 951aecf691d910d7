import { type GrpcApi, openGrpcApi } from '@skein/agent/api/grpc-api.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GrpcClient, type Message } from './grpc-client.ts';
import { type Served, serveModels } from './served-models.ts';

let served: Served;
let api: GrpcApi;
let client: GrpcClient;
beforeAll(async () => {
  served = await serveModels(['simple', 'echo', 'slow']);
  api = await openGrpcApi({ models: served.models, clock: systemClock }, { host: '127.0.0.1', port: 0 });
  client = new GrpcClient(api.address);
});
afterAll(async () => {
  client.close();
  await api.close();
  await served.close();
});

const COUNT = Int32Array.from({ length: 16 }, (_, i) => i);
const bytesOf = (data: ArrayBufferView): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const int32 = (name: string, more: Message = {}): Message => ({
  name,
  datatype: 'INT32',
  shape: [1, 16],
  ...more,
});
const simple = (more: Message = {}): Message => ({
  model_name: 'simple',
  inputs: [int32('INPUT0'), int32('INPUT1')],
  raw_input_contents: [bytesOf(COUNT), bytesOf(COUNT)],
  ...more,
});
const int32sOf = (answer: Message, index: number): number[] => {
  const bytes = (answer.raw_output_contents as Buffer[])[index]!;
  return [...new Int32Array(new Uint8Array(bytes).buffer)];
};

describe('inference over gRPC', () => {
  it('answers raw contents with raw contents, in the order of the model’s outputs', async () => {
    const answer = await client.call('ModelInfer', simple({ id: 'one' }));
    expect(answer).toMatchObject({
      model_name: 'simple',
      model_version: '1.0.0',
      id: 'one',
      outputs: [
        { name: 'OUTPUT0', datatype: 'INT32', shape: [1, 16] },
        { name: 'OUTPUT1', datatype: 'INT32', shape: [1, 16] },
      ],
    });
    expect(int32sOf(answer, 0)).toEqual([...COUNT].map((i) => 2 * i));
    expect(int32sOf(answer, 1)).toEqual(Array(16).fill(0));
  });

  it('answers typed contents, and only the outputs that are asked for', async () => {
    const values = { contents: { int_contents: [...COUNT] } };
    const answer = await client.call('ModelInfer', {
      ...{ model_name: 'simple', model_version: '1.0.0', outputs: [{ name: 'OUTPUT1' }] },
      inputs: [int32('INPUT1', { contents: { int_contents: Array(16).fill(-1) } }), int32('INPUT0', values)],
    });
    expect(answer.outputs).toMatchObject([{ name: 'OUTPUT1' }]);
    expect(int32sOf(answer, 0)).toEqual([...COUNT].map((i) => i + 1));
  });
});
