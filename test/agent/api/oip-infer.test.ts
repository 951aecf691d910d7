import { readInfer, writeInfer } from '@skein/agent/api/oip-infer.ts';
import type { Tensor } from '@skein/agent/inference/backend.ts';
import type { CurrentModel } from '@skein/agent/inference/engine.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { describe, expect, it } from 'vitest';

const model = (inputs: TensorSpec[], outputs: TensorSpec[] = []): CurrentModel =>
  ({
    manifest: {
      name: 'm',
      version: '1.0.0',
      postprocess: { kind: 'classify', output: 'y', labels: ['cat', 'dog', 'emu'] },
    },
    loaded: { inputs, outputs },
  }) as unknown as CurrentModel;

const TYPES = [
  ['float32', 'FP32', Float32Array.of(1.5, -2, Number.NaN)],
  ['float64', 'FP64', Float64Array.of(1.5, -2, 1e300)],
  ['float16', 'FP16', Uint16Array.of(0x3c00, 0xc000, 0x7c00)],
  ['int8', 'INT8', Int8Array.of(-128, 0, 127)],
  ['uint8', 'UINT8', Uint8Array.of(0, 7, 255)],
  ['int32', 'INT32', Int32Array.of(-(2 ** 31), 0, 7)],
  ['int64', 'INT64', BigInt64Array.of(-(2n ** 63n), 0n, 7n)],
  ['bool', 'BOOL', Uint8Array.of(0, 1, 1)],
] as const;

/** JSON, then the bytes of `parts`, laid `shift` bytes into a larger buffer as a socket's read would. */
function bodyOf(request: object, parts: readonly ArrayBufferView[], shift = 0) {
  const json = new TextEncoder().encode(JSON.stringify(request));
  const size = json.length + parts.reduce((sum, part) => sum + part.byteLength, 0);
  const body = new Uint8Array(new ArrayBuffer(size + shift), shift, size);
  body.set(json, 0);
  let at = json.length;
  for (const part of parts) {
    body.set(new Uint8Array(part.buffer as ArrayBuffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return { body, length: String(json.length) };
}

describe('tensors as bytes', () => {
  it.each(TYPES)('of %s come in as they are, wherever they lie in the body', (type, datatype, data) => {
    const spec: TensorSpec = { name: 'x', type, shape: [-1] };
    for (let shift = 0; shift < 8; shift++) {
      const input = { name: 'x', shape: [3], datatype, parameters: { binary_data_size: data.byteLength } };
      const { body, length } = bodyOf({ inputs: [input] }, [data], shift);
      const { inputs } = readInfer(body, length, model([spec]));
      expect(inputs.x).toEqual({ type, dims: [3], data: data.slice() });
    }
  });

  it.each(TYPES)('of %s go out as they are', (type, datatype, data) => {
    const spec: TensorSpec = { name: 'y', type, shape: [-1] };
    const tensor = { type, dims: [3], data } as Tensor;
    const call = {
      id: 'q',
      inputs: {},
      outputs: [{ name: 'y', binary: true, classes: 0 }],
      timeoutMs: undefined,
    };
    const { body, headerLength } = writeInfer(call, model([], [spec]), {
      version: '1.0.0',
      outputs: { y: tensor },
    });
    const bytes = body as Uint8Array;
    expect(JSON.parse(new TextDecoder().decode(bytes.subarray(0, headerLength)))).toEqual({
      model_name: 'm',
      model_version: '1.0.0',
      id: 'q',
      outputs: [{ name: 'y', datatype, shape: [3], parameters: { binary_data_size: data.byteLength } }],
    });
    expect(new Uint8Array(bytes.subarray(headerLength))).toEqual(
      new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)),
    );
  });

  it('may lie beside tensors as JSON, in the order of the inputs', () => {
    const specs: TensorSpec[] = ['a', 'b', 'c'].map((name) => ({ name, type: 'int32', shape: [2] }));
    const binary = (name: string) => ({
      name,
      shape: [2],
      datatype: 'INT32',
      parameters: { binary_data_size: 8 },
    });
    const { body, length } = bodyOf(
      { inputs: [binary('c'), { name: 'b', shape: [2], datatype: 'INT32', data: [3, 4] }, binary('a')] },
      [Int32Array.of(5, 6), Int32Array.of(1, 2)],
    );
    const { inputs } = readInfer(body, length, model(specs));
    expect(['a', 'b', 'c'].map((name) => [...(inputs[name]!.data as Int32Array)])).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
  });

  it('need no JSON at all for a model with one input', () => {
    const spec: TensorSpec = { name: 'x', type: 'float32', shape: [-1, 2] };
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    const { inputs, outputs } = readInfer(
      new Uint8Array(data.buffer),
      '0',
      model([spec], [{ name: 'y', type: 'float32', shape: [-1] }]),
    );
    expect(inputs.x).toEqual({ type: 'float32', dims: [3, 2], data });
    expect(outputs).toEqual([{ name: 'y', binary: true, classes: 0 }]);
  });
});

describe('what is refused', () => {
  const spec: TensorSpec = { name: 'x', type: 'float32', shape: [-1, 2] };
  const input = { name: 'x', shape: [1, 2], datatype: 'FP32', parameters: { binary_data_size: 8 } };
  const refusal = (request: object, parts: ArrayBufferView[], length?: string, specs = [spec]) => {
    const { body, length: own } = bodyOf(request, parts);
    try {
      readInfer(body, length ?? own, model(specs, [{ name: 'y', type: 'float32', shape: [-1] }]));
      return '';
    } catch (error) {
      return `${(error as { code: string }).code} ${(error as Error).message}`;
    }
  };

  it.each([
    [
      'bytes that the shape does not need',
      { inputs: [{ ...input, shape: [2, 2] }] },
      8,
      /TENSOR_INVALID.*`x` has 8 bytes, FP32 of shape \[2, 2\] needs 16/,
    ],
    ['bytes that are not there', { inputs: [input] }, 4, /TENSOR_INVALID.*says 8 bytes, 4 are left/],
    ['bytes too many', { inputs: [input] }, 12, /REQUEST_INVALID 4 bytes too many/],
    [
      'data twice',
      { inputs: [{ ...input, data: [1, 2] }] },
      8,
      /REQUEST_INVALID.*`data` and `binary_data_size`/,
    ],
    ['an input twice', { inputs: [input, input] }, 16, /REQUEST_INVALID input `x` comes twice/],
    [
      'a shape beyond all numbers',
      { inputs: [{ ...input, shape: [2 ** 40, 2 ** 40] }] },
      8,
      /`shape` is not a list of sizes/,
    ],
    [
      'shared memory',
      { inputs: [{ ...input, parameters: { shared_memory_region: 'r' } }] },
      0,
      /shared memory is not served/,
    ],
    ['an unknown output', { inputs: [input], outputs: [{ name: 'z' }] }, 8, /output `z` is not one of y/],
    [
      'a timeout that is none',
      { inputs: [input], parameters: { timeout: -1 } },
      8,
      /`timeout` is not a whole number/,
    ],
    [
      'classes that are no number',
      { inputs: [input], outputs: [{ name: 'y', parameters: { classification: 1.5 } }] },
      8,
      /`classification` is not a number/,
    ],
  ])('is %s', (_what, request, size, message) => {
    expect(refusal(request, [new Uint8Array(size)])).toMatch(message);
  });

  it.each(['-1', '1e3', '99999999', 'x'])('is a header length of %s', (length) => {
    expect(refusal({ inputs: [input] }, [new Uint8Array(8)], length)).toMatch(
      /Inference-Header-Content-Length is/,
    );
  });

  it.each([
    ['int8', 'INT8', 128],
    ['uint8', 'UINT8', -1],
    ['int32', 'INT32', 2 ** 31],
    ['int64', 'INT64', 2 ** 53],
    ['bool', 'BOOL', 2],
    ['int32', 'INT32', 0.5],
  ] as const)('is a JSON number that %s has not', (type, datatype, value) => {
    const specs = [{ name: 'x', type, shape: [1] }] satisfies TensorSpec[];
    const request = { inputs: [{ name: 'x', shape: [1], datatype, data: [value] }] };
    expect(refusal(request, [], undefined, specs)).toMatch(/TENSOR_INVALID.*holds a value that/);
  });
});

describe('tensors as JSON', () => {
  const read = (type: TensorSpec['type'], datatype: string, shape: number[], data: unknown) => {
    const { body } = bodyOf({ inputs: [{ name: 'x', shape, datatype, data }] }, []);
    const dims = shape.map(() => -1);
    return readInfer(body, undefined, model([{ name: 'x', type, shape: dims }])).inputs.x!;
  };

  it.each(TYPES.filter(([type]) => type !== 'float16'))(
    'of %s are numbers, flat or in lists',
    (type, datatype, data) => {
      const made = read(type, datatype, [2, 1, 3], [0, 1, 1, 1, 0, 1]);
      expect(made.data.constructor).toBe(data.constructor);
      expect(Array.from(made.data, Number)).toEqual([0, 1, 1, 1, 0, 1]);
      expect(read(type, datatype, [2, 1, 3], [[[0, 1, 1]], [[1, 0, true]]])).toEqual(made);
    },
  );

  it.each([
    ['of another shape', [[1, 2, 3]], /data is \[1, 3\], shape says \[2, 3\]/],
    [
      'short of a value',
      [
        [1, 2, 3],
        [4, 5],
      ],
      /its lists are not all as long as shape \[2, 3\] says/,
    ],
    ['with a value for a list', [[1, 2, 3], 4], /its lists are not all as long/],
    [
      'with a list for a value',
      [
        [1, 2, 3],
        [4, 5, [6]],
      ],
      /`x`\[5\] is a list, not a finite number/,
    ],
    ['with a text for a value', [1, 2, 3, 4, 5, '6'], /`x`\[5\] is "6", not a finite number/],
    ['without a value', [1, 2, 3, 4, 5], /has 5 values, shape \[2, 3\] needs 6/],
    ['and no list', 7, /`data` is not an array/],
  ])('are refused %s', (_, data, message) => {
    expect(() => read('float32', 'FP32', [2, 3], data)).toThrow(message);
  });

  it('take no memory for a shape that the data does not have', () => {
    const outer = [Array(10_000).fill(1), ...Array(9_999).fill([])];
    expect(() => read('float64', 'FP64', [10_000, 10_000], outer)).toThrow(/not all as long/);
  });

  it('go out up to a million values, and beyond that as bytes', () => {
    const answer = (length: number) =>
      writeInfer(
        {
          id: undefined,
          inputs: {},
          outputs: [{ name: 'y', binary: false, classes: 0 }],
          timeoutMs: undefined,
        },
        model([]),
        { version: '1.0.0', outputs: { y: { type: 'uint8', dims: [length], data: new Uint8Array(length) } } },
      );
    expect(JSON.parse(answer(2 ** 20).body as string).outputs[0].data).toHaveLength(2 ** 20);
    expect(() => answer(2 ** 20 + 1)).toThrow(
      expect.objectContaining({
        code: 'TENSOR_INVALID',
        message: 'output `y` has 1048577 values, of which JSON would take too much memory',
        fix: expect.stringContaining('[{"name": "y", "parameters": {"binary_data": true}}]'),
      }),
    );
  });
});

describe('classes instead of a tensor', () => {
  const y: Tensor = {
    type: 'float32',
    dims: [2, 3],
    data: Float32Array.of(0.25, 0.5, 0.25, 0, 0.125, 0.875),
  };
  const call = (binary: boolean) => ({
    id: undefined,
    inputs: {},
    outputs: [{ name: 'y', binary, classes: 2 }],
    timeoutMs: undefined,
  });
  const spec: TensorSpec = { name: 'y', type: 'float32', shape: [-1, 3] };
  const texts = ['0.500000:1:dog', '0.250000:0:cat', '0.875000:2:emu', '0.125000:1:dog'];

  it('are the best of each row with value, index and label', () => {
    const { body } = writeInfer(call(false), model([], [spec]), { version: '1.0.0', outputs: { y } });
    expect(JSON.parse(body as string).outputs).toEqual([
      { name: 'y', datatype: 'BYTES', shape: [2, 2], data: texts },
    ]);
  });

  it('are texts with their lengths before them as bytes', () => {
    const { body, headerLength } = writeInfer(call(true), model([], [spec]), {
      version: '1.0.0',
      outputs: { y },
    });
    const bytes = Buffer.from(body as Uint8Array).subarray(headerLength);
    const found: string[] = [];
    for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32LE(at))
      found.push(bytes.toString('utf8', at + 4, at + 4 + bytes.readUInt32LE(at)));
    expect(found).toEqual(texts);
  });
});
