import { status } from '@grpc/grpc-js';
import { type GrpcApi, openGrpcApi } from '@skein/agent/api/grpc-api.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeRequest, GrpcClient, type Message } from './grpc-client.ts';
import { bytesOf, int32, int32sOf, simple } from './grpc-requests.ts';
import { frame, RawGrpc } from './raw-grpc.ts';
import { type Served, serveModels } from './served-models.ts';

let served: Served;
let api: GrpcApi;
let client: GrpcClient;
beforeAll(async () => {
  served = await serveModels(['simple', 'echo'], { nonFinite: 'pass' });
  api = await openGrpcApi({ models: served.models, clock: systemClock }, { host: '127.0.0.1', port: 0 });
  client = new GrpcClient(api.address);
});
afterAll(async () => {
  client.close();
  await api.close();
  await served.close();
});

interface Sample {
  type: TensorSpec['type'];
  datatype: string;
  bytes: ArrayBufferView;
  contents?: Message;
}
/** Extremes, not a number, and what a double can not hold. */
const SAMPLES: Sample[] = [
  {
    type: 'float32',
    datatype: 'FP32',
    bytes: Float32Array.of(1.5, Number.NaN, -Infinity),
    contents: { fp32_contents: [1.5, Number.NaN, -Infinity] },
  },
  {
    type: 'float64',
    datatype: 'FP64',
    bytes: Float64Array.of(0.1, -0, 1e300),
    contents: { fp64_contents: [0.1, -0, 1e300] },
  },
  { type: 'float16', datatype: 'FP16', bytes: Uint16Array.of(0x3c00, 0x7bff, 0x8000) },
  {
    type: 'int8',
    datatype: 'INT8',
    bytes: Int8Array.of(-128, 0, 127),
    contents: { int_contents: [-128, 0, 127] },
  },
  {
    type: 'uint8',
    datatype: 'UINT8',
    bytes: Uint8Array.of(0, 128, 255),
    contents: { uint_contents: [0, 128, 255] },
  },
  {
    type: 'int32',
    datatype: 'INT32',
    bytes: Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1),
    contents: { int_contents: [-(2 ** 31), 0, 2 ** 31 - 1] },
  },
  {
    type: 'int64',
    datatype: 'INT64',
    bytes: BigInt64Array.of(-(2n ** 63n), 9_007_199_254_740_993n, 2n ** 63n - 1n),
    contents: { int64_contents: ['-9223372036854775808', '9007199254740993', '9223372036854775807'] },
  },
  {
    type: 'bool',
    datatype: 'BOOL',
    bytes: Uint8Array.of(1, 0, 1),
    contents: { bool_contents: [true, false, true] },
  },
];
const bytesOfSample = (type: TensorSpec['type']): Buffer =>
  bytesOf(SAMPLES.find((sample) => sample.type === type)!.bytes);

const ORDER = SAMPLES.map(({ type, datatype }) => ({ name: type, datatype, shape: [1, 3] }));
const raw = (): Buffer[] => SAMPLES.map(({ type }) => bytesOfSample(type));
const outputBytes = (answer: Message): Record<string, Buffer> => {
  const outputs = answer.outputs as { name: string }[];
  const contents = answer.raw_output_contents as Buffer[];
  return Object.fromEntries(outputs.map(({ name }, i) => [name, contents[i]!]));
};

describe('tensors over gRPC', () => {
  it('gives every type back bit for bit, sent raw', async () => {
    const answer = await client.call('ModelInfer', {
      model_name: 'echo',
      inputs: ORDER,
      raw_input_contents: raw(),
    });
    for (const { type, datatype } of SAMPLES) {
      expect(outputBytes(answer)[`${type}_out`], datatype).toEqual(bytesOfSample(type));
    }
    const shapes = (answer.outputs as Message[]).map(({ shape }) => shape);
    expect(shapes).toEqual(SAMPLES.map(() => [1, 3]));
  });

  it('takes typed contents beside those that only raw bytes can carry', async () => {
    for (const { type, datatype, contents } of SAMPLES.filter((sample) => sample.contents)) {
      const only = await serveOnly(type);
      const answer = await client.call('ModelInfer', { ...only, inputs: [{ ...input(type), contents }] });
      expect(outputBytes(answer)[`${type}_out`], datatype).toEqual(bytesOfSample(type));
    }
    const half = { ...input('float16'), contents: { fp32_contents: [1, 2, 3] } };
    await expect(
      client.call('ModelInfer', { ...(await serveOnly('float16')), inputs: [half] }),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('FP16, which has no typed contents'),
    });
  });

  it('gives the best classes of an output instead of it', async () => {
    const classes = { name: 'int32_out', parameters: { classification: { int64_param: 2 } } };
    const request = { ...(await serveOnly('int32')), inputs: [input('int32')], outputs: [classes] };
    const answer = await client.call('ModelInfer', {
      ...request,
      raw_input_contents: [bytesOf(Int32Array.of(5, 7, -1))],
    });
    expect(answer.outputs).toMatchObject([{ name: 'int32_out', datatype: 'BYTES', shape: [1, 2] }]);
    const bytes = outputBytes(answer).int32_out!;
    expect(bytes.subarray(4, 4 + bytes.readUInt32LE(0)).toString()).toBe('7.000000:1');
  });

  it('makes any byte but 0 a true of BOOL', async () => {
    const request = { ...(await serveOnly('bool')), inputs: [input('bool')] };
    const answer = await client.call('ModelInfer', {
      ...request,
      raw_input_contents: [Buffer.of(7, 0, 255)],
    });
    expect([...outputBytes(answer).bool_out!]).toEqual([1, 0, 1]);
  });
});

/** echo-TYPE: the model for one type alone, so that typed and raw contents are not mixed. */
async function serveOnly(type: TensorSpec['type']): Promise<Message> {
  const name = `echo-${type}`;
  if (!served.engine.current(name)) await served.activate(name);
  return { model_name: name };
}
const input = (type: TensorSpec['type']): Message => ORDER.find(({ name }) => name === type)!;

describe('what is wrong with a request', () => {
  it('is said in the answer where what is not finite is flagged', async () => {
    const flagging = await serveModels(['echo-float32'], { nonFinite: 'flag' });
    const other = await openGrpcApi(
      { models: flagging.models, clock: systemClock },
      { host: '127.0.0.1', port: 0 },
    );
    const stranger = new GrpcClient(other.address);
    const request = { model_name: 'echo-float32', inputs: [input('float32')] };
    const answer = await stranger.call('ModelInfer', {
      ...request,
      raw_input_contents: [bytesOfSample('float32')],
    });
    expect(answer.parameters).toMatchObject({ inputs_finite: { bool_param: false } });
    stranger.close();
    await other.close();
    await flagging.close();
  });

  it('is named for what is not finite, unless that is allowed', async () => {
    const strict = await serveModels(['echo-float32']);
    const other = await openGrpcApi(
      { models: strict.models, clock: systemClock },
      { host: '127.0.0.1', port: 0 },
    );
    const stranger = new GrpcClient(other.address);
    const request = { model_name: 'echo-float32', inputs: [input('float32')] };
    await expect(
      stranger.call('ModelInfer', { ...request, raw_input_contents: [bytesOfSample('float32')] }),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^INPUT_NOT_FINITE: input `float32`/),
    });
    stranger.close();
    await other.close();
    await strict.close();
  });

  const [first, second] = [int32('INPUT0'), int32('INPUT1')];
  const full = Buffer.alloc(64);
  const cases: [string, Message, RegExp][] = [
    ['an unknown model', { model_name: 'none' }, /NOT_FOUND: no model none/],
    ['another version', { model_version: '3.0.0' }, /simple runs version 1\.0\.0, not 3\.0\.0/],
    [
      'an unknown input',
      { inputs: [first, int32('X')] },
      /`X` is none of the model’s: it takes INPUT0, INPUT1/,
    ],
    ['a missing input', { inputs: [first], raw_input_contents: [full] }, /`INPUT1` is missing/],
    ['an input twice', { inputs: [first, first] }, /`INPUT0` is there twice/],
    [
      'another type',
      { inputs: [first, int32('INPUT1', { datatype: 'FP32' })] },
      /`INPUT1` is FP32, the model takes INT32/,
    ],
    [
      'no type',
      { inputs: [first, int32('INPUT1', { datatype: '' })] },
      /`INPUT1` is of no type, the model takes INT32/,
    ],
    [
      'strings',
      { inputs: [first, int32('INPUT1', { datatype: 'BYTES' })] },
      /`INPUT1` is BYTES, the model takes INT32/,
    ],
    [
      'another shape',
      { inputs: [first, int32('INPUT1', { shape: [16] })] },
      /`INPUT1` has shape \[16\], the model takes \[\?, 16\]/,
    ],
    [
      'a negative size',
      { inputs: [first, int32('INPUT1', { shape: [-1, 16] })] },
      /`INPUT1` has shape \[-1, 16\], which is none/,
    ],
    [
      'a size beyond counting',
      { inputs: [first, int32('INPUT1', { shape: ['9223372036854775807', 16] })] },
      /`INPUT1` has shape \[9223372036854776000, 16\], which is none/,
    ],
    [
      'too few bytes',
      { raw_input_contents: [full, Buffer.alloc(63)] },
      /`INPUT1` has 63 bytes, INT32 of shape \[1, 16\] needs 64/,
    ],
    [
      'too many bytes',
      { raw_input_contents: [Buffer.alloc(65), full] },
      /`INPUT0` has 65 bytes, INT32 of shape \[1, 16\] needs 64/,
    ],
    [
      'raw contents for some',
      { raw_input_contents: [full] },
      /raw_input_contents has 1 entries for 2 inputs/,
    ],
    [
      'contents in both places',
      { inputs: [int32('INPUT0', { contents: { int_contents: [1] } }), second] },
      /`INPUT0` has both raw and typed contents/,
    ],
    [
      'too few values',
      { ...typed({ int_contents: Array(15).fill(2 ** 20) }) },
      /`INPUT0` has 15 values in int_contents, shape \[1, 16\] needs 16/,
    ],
    [
      'too many values',
      { ...typed({ int_contents: Array(17).fill(1) }) },
      /`INPUT0` has 17 values in int_contents, .* needs 16/,
    ],
    [
      'no values',
      { raw_input_contents: [] },
      /`INPUT0` has 0 values in int_contents, shape \[1, 16\] needs 16/,
    ],
    [
      'values of another type',
      { ...typed({ fp32_contents: Array(16).fill(1) }) },
      /`INPUT0` has its values in fp32_contents, its type takes int_contents/,
    ],
    [
      'strings as values',
      { ...typed({ bytes_contents: [Buffer.alloc(20)] }) },
      /its values in bytes_contents/,
    ],
    [
      'a shape far beyond its values',
      { ...typed({ int_contents: [1] }, [2 ** 40, 16]) },
      /`INPUT0` has at most \d values, .* needs 17592186044416/,
    ],
    ['an unknown output', { outputs: [{ name: 'Y' }] }, /output `Y` is not one of OUTPUT0, OUTPUT1/],
    [
      'an output twice',
      { outputs: [{ name: 'OUTPUT0' }, { name: 'OUTPUT0' }] },
      /output `OUTPUT0` is asked for twice/,
    ],
    [
      'shared memory',
      { inputs: [int32('INPUT0', { parameters: { shared_memory_region: { string_param: 'r' } } }), second] },
      /`INPUT0` is in shared memory/,
    ],
  ];

  function typed(contents: Message, shape: number[] = [1, 16]): Message {
    const other = { int_contents: Array(16).fill(0) };
    return {
      inputs: [int32('INPUT0', { contents, shape }), int32('INPUT1', { contents: other })],
      raw_input_contents: [],
    };
  }

  it.each(cases)('is named: %s', async (_what, change, words) => {
    await expect(client.call('ModelInfer', simple(change))).rejects.toMatchObject({
      code: /NOT_FOUND|version/.test(words.source) ? status.NOT_FOUND : status.INVALID_ARGUMENT,
      details: expect.stringMatching(words),
    });
  });

  it('is named for a value that its type can not hold', async () => {
    const small = { ...input('int8'), contents: { int_contents: [0, 128, 0] } };
    await expect(
      client.call('ModelInfer', { ...(await serveOnly('int8')), inputs: [small] }),
    ).rejects.toMatchObject({
      details: expect.stringContaining('input `int8` [1] is 128, which is not -128 to 127'),
    });
  });

  it('is said when a name is no text', async () => {
    await expect(
      client.call('ModelInfer', simple({ inputs: [int32('\ud800'), second] })),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^REQUEST_INVALID: the message can not be read/),
    });
  });

  it('keeps a long name out of the answer’s headers', async () => {
    const call = client.call('ModelInfer', simple({ inputs: [int32('é'.repeat(100_000)), second] }));
    await expect(call).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe('a stream of inferences', () => {
  const rowOf = (value: number) => bytesOf(new Int32Array(16).fill(value));
  const asked = (value: number): Message =>
    simple({ id: `${value}`, raw_input_contents: [rowOf(value), rowOf(1)] });

  /** Answers until the server ends the stream. */
  const collect = (stream: ReturnType<GrpcClient['stream']>) =>
    new Promise<Message[]>((resolve, reject) => {
      const answers: Message[] = [];
      stream.on('data', (answer: Message) => answers.push(answer));
      stream.once('end', () => resolve(answers)).once('error', reject);
    });

  it('answers in the order of its requests, also many more than are worked on at once', async () => {
    const stream = client.stream('ModelStreamInfer');
    const answers = collect(stream);
    const count = 200;
    for (let i = 0; i < count; i++) stream.write(asked(i));
    stream.end();
    const responses = (await answers).map((answer) => answer.infer_response as Message);
    expect(responses.map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, i) => `${i}`));
    expect(responses.map((response) => int32sOf(response, 0)[0])).toEqual(
      Array.from({ length: count }, (_, i) => i + 1),
    );
  });

  it('says what is wrong with one request and goes on', async () => {
    const stream = client.stream('ModelStreamInfer');
    const answers = collect(stream);
    stream.write(asked(1));
    stream.write({ ...asked(2), raw_input_contents: [rowOf(2), Buffer.alloc(3)] });
    stream.write({ ...asked(3), model_name: 'none' });
    stream.write(asked(4));
    stream.end();
    expect(await answers).toMatchObject([
      { error_message: '', infer_response: { id: '1' } },
      { error_message: expect.stringContaining('`INPUT1` has 3 bytes'), infer_response: { id: '2' } },
      { error_message: expect.stringContaining('no model none'), infer_response: { id: '3' } },
      { error_message: '', infer_response: { id: '4', model_name: 'simple' } },
    ]);
  });

  it('ends an empty stream with nothing', async () => {
    const stream = client.stream('ModelStreamInfer');
    const answers = collect(stream);
    stream.end();
    expect(await answers).toEqual([]);
  });

  it('does not read on for a client that does not take its answers', async () => {
    const rows = 300;
    const bytes = Buffer.alloc(rows * 64);
    const large = encodeRequest(
      'ModelInfer',
      simple({
        inputs: ['INPUT0', 'INPUT1'].map((name) => int32(name, { shape: [rows, 16] })),
        raw_input_contents: [bytes, bytes],
      }),
    );
    const raw = new RawGrpc(api.address);
    const stream = raw.request('/inference.GRPCInferenceService/ModelStreamInfer');
    stream.pause();
    const ran = () => served.engine.statistics('simple')!.execution_count;
    const before = ran();
    const total = 100;
    for (let i = 0; i < total; i++) stream.write(frame(large));
    stream.end();
    // As long as requests are read, some run between so many answers of the server.
    for (let known = -1; known !== ran() || known === before; ) {
      known = ran();
      for (let i = 0; i < 50; i++) await client.call('ServerLive');
    }
    expect(ran() - before).toBeLessThan(total);
    let received = 0;
    stream.on('data', (chunk: Buffer) => (received += chunk.length)).resume();
    await new Promise((resolve) => stream.once('end', resolve));
    expect(received).toBeGreaterThan(total * 2 * rows * 64);
    expect(ran() - before).toBe(total);
    raw.close();
  });
});
