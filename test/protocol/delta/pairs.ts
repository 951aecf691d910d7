/** Seeded pairs of files, and patches between them as bytes. */
import { createHash } from 'node:crypto';
import { floatTensor, int8Tensor, modelOf, nodeOf, saveGraph, valueInfo } from '@skein/agent/model/graph.ts';
import { applyPatch, type Demands, type OldFile } from '@skein/protocol/delta/apply.ts';
import { makePatch } from '@skein/protocol/delta/make.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { normal } from '../../agent/model/graphs.ts';

export const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

export const patchOf = (old: Uint8Array, now: Uint8Array): Buffer =>
  Buffer.concat(makePatch(old, now, sha256));

export const inMemory = (bytes: Uint8Array): OldFile => ({
  size: bytes.length,
  read: async (offset, length) => {
    if (offset < 0 || offset + length > bytes.length) throw new Error('read outside of the file');
    return bytes.subarray(offset, offset + length);
  },
});

/** In pieces of `piece` bytes, as a network would bring it. */
async function* pieces(bytes: Uint8Array, piece: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
}

export async function apply(
  old: Uint8Array,
  patch: Uint8Array,
  demands: Partial<Demands> = {},
  piece = 1000,
): Promise<Buffer> {
  const made: Buffer[] = [];
  const chunks = applyPatch(pieces(patch, piece), inMemory(old), { oldHash: sha256(old), ...demands });
  for await (const chunk of chunks) made.push(Buffer.from(chunk));
  return Buffer.concat(made);
}

export const bytesOf = (values: ArrayBufferView): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();

/** Weights, and the same after a little training. `share`: how far they move, of their deviation. */
export function tuned(count: number, share: number, seed: number): { was: Float32Array; now: Float32Array } {
  const uniform = seededUniform(seed);
  const was = normal(uniform, count, 0.05);
  const moves = normal(uniform, count, 0.05 * share);
  return { was, now: was.map((value, i) => value + moves[i]!) };
}

/** A small model of two layers; a layer's weights come from the caller. */
export function twoLayers(first: Float32Array, last: Float32Array, name = 'dense'): Uint8Array {
  const quantized = Int8Array.from(last, (value) => Math.round(value * 300));
  return saveGraph(
    modelOf({
      name,
      node: [nodeOf('MatMul', ['x', 'first'], ['h']), nodeOf('MatMul', ['h', 'last'], ['y'])],
      initializer: [
        floatTensor('first', [first.length / 32, 32], first),
        floatTensor('last', [32, last.length / 32], last),
        int8Tensor('last-quantized', [32, last.length / 32], quantized),
      ],
      input: [valueInfo('x', 1, [-1, first.length / 32])],
      valueInfo: [],
      output: [valueInfo('y', 1, [-1, last.length / 32])],
    }),
  );
}
