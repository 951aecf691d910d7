/** What every execution backend promises. Models are made on the spot; files lie in a folder of the test's own. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend, LoadedModel, LoadRequest, Tensors } from '@skein/agent/inference/backend.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sameModel, scaleModel } from '../agent/inference/models.ts';

export interface BackendParty {
  backend: Backend;
  close(): Promise<void>;
}

export const row = (...values: number[]): Tensors => ({
  x: { type: 'float32', dims: [1, values.length], data: Float32Array.from(values) },
});
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const bytesOf = ({ buffer, byteOffset, byteLength }: Tensors[string]['data']) =>
  Buffer.from(buffer, byteOffset, byteLength).toString('hex');

/** A file with these bytes and the request that loads it. */
export function requestIn(directory: string, bytes: Uint8Array, name = 'scale'): LoadRequest {
  const hash = sha256(bytes);
  const path = join(directory, hash);
  writeFileSync(path, bytes);
  return { path, sha256: hash, sizeBytes: bytes.length, model: name, threads: 1, providers: ['cpu'] };
}

export function backendContract(title: string, open: (directory: string) => Promise<BackendParty>): void {
  describe(`the backend ${title}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-backend-'));
    const loaded: LoadedModel[] = [];
    let party: BackendParty;
    beforeAll(async () => {
      party = await open(directory);
    });
    afterEach(async () => {
      await Promise.all(loaded.splice(0).map((model) => model.close()));
    });
    afterAll(async () => {
      await party?.close();
      rmSync(directory, { recursive: true, force: true });
    });
    const load = async (bytes: Uint8Array, name?: string) => {
      const model = await party.backend.load(requestIn(directory, bytes, name));
      loaded.push(model);
      return model;
    };

    it('computes, and says which bytes it loaded and who vouches for that', async () => {
      const bytes = scaleModel(3, 2);
      const model = await load(bytes);
      expect(model.sha256).toBe(sha256(bytes));
      expect(['runtime', 'sidecar']).toContain(model.proof ?? 'runtime');
      expect(model.reason).not.toBe('');
      expect(model.inputs).toEqual([{ name: 'x', type: 'float32', shape: [-1, 3] }]);
      expect(model.outputs).toEqual([{ name: 'y', type: 'float32', shape: [-1, 3] }]);
      const { y } = await model.infer(row(1, 2, 3));
      expect(y).toMatchObject({ type: 'float32', dims: [1, 3] });
      expect([...(y!.data as Float32Array)]).toEqual([2, 4, 6]);
    });

    it('carries NaN, infinities and −0 unchanged', async () => {
      const { y } = await (await load(scaleModel(4, 1))).infer(row(Number.NaN, Infinity, -Infinity, -0));
      expect([...(y!.data as Float32Array)]).toEqual([Number.NaN, Infinity, -Infinity, -0]);
    });

    it.each([
      ['bool', Uint8Array.of(1, 0, 1)],
      ['int8', Int8Array.of(-128, 0, 127)],
      ['uint8', Uint8Array.of(0, 1, 255)],
      ['int32', Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1)],
      ['int64', BigInt64Array.of(-(2n ** 63n), 0n, 2n ** 63n - 1n)],
      ['float16', Uint16Array.of(0x7e01, 0x8000, 0x0001)],
      ['float32', Float32Array.of(1e-45, -0, 3.4e38)],
      ['float64', Float64Array.of(5e-324, -0, 1.7e308)],
    ] as const)('carries %s bit for bit', async (type, data) => {
      const model = await load(sameModel(type, 3));
      expect(model.inputs).toEqual([{ name: 'x', type, shape: [-1, 3] }]);
      const { y } = await model.infer({ x: { type, dims: [1, 3], data } });
      expect(y!.type).toBe(type);
      expect(bytesOf(y!.data)).toEqual(bytesOf(data));
    });

    it('follows a batch that grows and shrinks', async () => {
      const model = await load(scaleModel(3, 2));
      for (const rows of [1, 7, 300, 2]) {
        const data = Float32Array.from({ length: rows * 3 }, (_, i) => i);
        const { y } = await model.infer({ x: { type: 'float32', dims: [rows, 3], data } });
        expect(y!.dims).toEqual([rows, 3]);
        expect((y!.data as Float32Array).at(-1)).toBe(2 * (rows * 3 - 1));
      }
    });

    it('answers every one of many calls in a row with its own result', async () => {
      const model = await load(scaleModel(3, 2));
      for (let i = 0; i < 50; i++) {
        const { y } = await model.infer(row(i, i + 1, i + 2));
        expect([...(y!.data as Float32Array)]).toEqual([2 * i, 2 * i + 2, 2 * i + 4]);
      }
    });

    it('keeps two models apart, also two loads of the same bytes under one name', async () => {
      const [twice, thrice, again] = [
        await load(scaleModel(2, 2)),
        await load(scaleModel(2, 3)),
        await load(scaleModel(2, 2)),
      ];
      await loaded.splice(loaded.indexOf(again), 1)[0]!.close();
      expect([...((await twice.infer(row(1, 1))).y!.data as Float32Array)]).toEqual([2, 2]);
      expect([...((await thrice.infer(row(1, 1))).y!.data as Float32Array)]).toEqual([3, 3]);
    });

    it.each([
      ['a wrong name', { z: { type: 'float32', dims: [1, 3], data: new Float32Array(3) } }, '`x` is missing'],
      ['a wrong shape', { x: { type: 'float32', dims: [1, 4], data: new Float32Array(4) } }, '[?, 3]'],
      ['a wrong type', { x: { type: 'int32', dims: [1, 3], data: new Int32Array(3) } }, 'int32'],
      ['too few values', { x: { type: 'float32', dims: [1, 3], data: new Float32Array(2) } }, '2 values'],
    ])('refuses %s, naming it, and goes on', async (_title, inputs, words) => {
      const model = await load(scaleModel(3, 2));
      await expect(model.infer(inputs as Tensors)).rejects.toMatchObject({
        code: 'TENSOR_INVALID',
        message: expect.stringContaining(words),
      });
      await expect(model.infer(row(1, 1, 1))).resolves.toBeDefined();
    });

    it('refuses a file that is no model', async () => {
      await expect(load(Buffer.from('not a model at all'))).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    });

    it('refuses bytes that changed on disk since they were verified', async () => {
      const request = requestIn(directory, scaleModel(3, 2));
      writeFileSync(request.path, scaleModel(3, 5));
      await expect(party.backend.load(request)).rejects.toMatchObject({ code: 'BLOB_MISMATCH' });
    });
  });
}
