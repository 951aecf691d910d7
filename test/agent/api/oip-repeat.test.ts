import { readInfer, writeInfer } from '@skein/agent/api/oip-infer.ts';
import type { Tensor } from '@skein/agent/inference/backend.ts';
import type { CurrentModel } from '@skein/agent/inference/engine.ts';
import { describe, expect, it } from 'vitest';

/** A model loaded anew: it has seen no call. */
const model = (): CurrentModel =>
  ({
    manifest: { name: 'm', version: '1.0.0' },
    loaded: {
      inputs: [
        { name: 'x', type: 'float32', shape: [-1, 2] },
        { name: '0', type: 'int64', shape: [1] },
      ],
      outputs: [{ name: 'y', type: 'float32', shape: [-1] }],
    },
  }) as unknown as CurrentModel;

const ASKED = {
  id: 'q',
  inputs: [
    { name: 'x', shape: [1, 2], datatype: 'FP32', parameters: { binary_data_size: 8 } },
    { name: '0', shape: [1], datatype: 'INT64', parameters: { binary_data_size: 8 } },
  ],
  outputs: [{ name: 'y', parameters: { binary_data: true } }],
  parameters: { timeout: 5000 },
};

/** The JSON lies `shift` bytes into its memory, and so do the tensors behind it. */
function bodyOf(x: number[], zero: bigint, asked: object = ASKED, shift = 0) {
  const json = Buffer.from(JSON.stringify(asked));
  const parts = [Buffer.alloc(shift), json, Float32Array.from(x), BigInt64Array.of(zero)];
  const bytes = Buffer.concat(
    parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength)),
  );
  return { body: bytes.subarray(shift), length: String(json.length) };
}
const read = (of: CurrentModel, { body, length }: ReturnType<typeof bodyOf>) => {
  const { repeated, ...call } = readInfer(body, length, of);
  return call;
};
const y = (...data: number[]): Record<string, Tensor> => ({
  y: { type: 'float32', dims: [data.length], data: Float32Array.from(data) },
});

describe('a call that repeats', () => {
  it('is read as if it were the first, its own bytes included', () => {
    const known = model();
    for (let call = 0; call < 9; call++) {
      const sent = bodyOf([call, -call], BigInt(call) * 2n ** 60n, ASKED, call);
      expect(read(known, sent)).toEqual(read(model(), sent));
    }
    expect(read(known, bodyOf([7, 8], 9n)).inputs).toMatchObject({
      x: { dims: [1, 2], data: Float32Array.of(7, 8) },
      0: { dims: [1], data: BigInt64Array.of(9n) },
    });
  });

  it('is another one when a letter of its JSON differs', () => {
    const known = model();
    read(known, bodyOf([1, 2], 3n));
    expect(read(known, bodyOf([1, 2], 3n, { ...ASKED, id: 'r' })).id).toBe('r');
    expect(read(known, bodyOf([1, 2], 3n, { ...ASKED, parameters: { timeout: 6000 } })).timeoutMs).toBe(6);
  });

  it('is refused as the first would be when bytes are missing or left over', () => {
    const known = model();
    const { body, length } = bodyOf([1, 2], 3n);
    read(known, { body, length });
    expect(() => read(known, { body: body.subarray(0, -1), length })).toThrow('says 8 bytes, 7 are left');
    const longer = Buffer.concat([body, Buffer.alloc(1)]);
    expect(() => read(known, { body: longer, length })).toThrow('1 bytes too many');
  });

  it('is answered as if it were the first, by the version and in the shape of now', () => {
    const known = model();
    const { body, length } = bodyOf([1, 2], 3n);
    const answer = (of: CurrentModel, version: string, outputs: Record<string, Tensor>) => {
      const written = writeInfer(readInfer(body, length, of), of, { version, outputs });
      return {
        header: written.headerLength,
        body: Buffer.from(written.body as Uint8Array).toString('latin1'),
      };
    };
    const outputs = [y(1), y(2), y(3, 4), y(5, 6), y(7)];
    for (const [i, found] of outputs.entries()) {
      const version = i === 1 ? '2.0.0' : '1.0.0';
      expect(answer(known, version, found)).toEqual(answer(model(), version, found));
    }
    const { header, body: bytes } = answer(known, '1.0.0', y(7));
    expect(JSON.parse(bytes.slice(0, header))).toMatchObject({
      model_version: '1.0.0',
      id: 'q',
      outputs: [{ name: 'y', shape: [1], datatype: 'FP32', parameters: { binary_data_size: 4 } }],
    });
    expect(bytes.slice(header)).toBe(Buffer.from(Float32Array.of(7).buffer).toString('latin1'));
  });

  it('says of its own inputs alone that they are not finite', () => {
    const known = model();
    const { body, length } = bodyOf([1, 2], 3n);
    const parameters = [true, false, true, false].map((inputsFinite) => {
      const result = { version: '1.0.0', outputs: y(1), inputsFinite };
      const { body: written, headerLength } = writeInfer(readInfer(body, length, known), known, result);
      const header = Buffer.from(written as Uint8Array).toString('utf8', 0, headerLength);
      return (JSON.parse(header) as { parameters?: unknown }).parameters;
    });
    expect(parameters).toEqual([undefined, { inputs_finite: false }, undefined, { inputs_finite: false }]);
  });

  it('of JSON tensors is never taken for one before', () => {
    const known = model();
    const asked = (value: number) => ({
      inputs: [
        { name: 'x', shape: [1, 2], datatype: 'FP32', data: [value, value] },
        { name: '0', shape: [1], datatype: 'INT64', data: [value] },
      ],
    });
    for (const value of [1, 2, 1]) {
      const body = Buffer.from(JSON.stringify(asked(value)));
      expect([...(readInfer(body, undefined, known).inputs.x!.data as Float32Array)]).toEqual([value, value]);
    }
  });
});
