/**
 * Triton's classification extension: instead of a tensor its `k` largest values as `score:index:label`, row by row, as
 * tensors of BYTES (each element a 4-byte little-endian length and its text).
 */
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { Tensor } from '../inference/backend.ts';

export interface ClassTensor {
  shape: number[];
  texts: string[];
}

/** The labels of this output, when it is the one that the manifest classifies by. */
export function labelsOf({ postprocess }: Manifest, output: string): readonly string[] {
  return postprocess.kind === 'classify' && postprocess.output === output ? postprocess.labels : [];
}

/** A tensor of more than one dimension holds a row per index of the first. */
export function classesOf({ dims, data }: Tensor, k: number, labels: readonly string[]): ClassTensor {
  const rows = dims.length > 1 ? dims[0]! : 1;
  const width = rows > 0 ? data.length / rows : 0;
  const count = Math.min(k, width);
  const texts: string[] = [];
  for (let row = 0; row < rows; row++) {
    const values = Array.from({ length: width }, (_, i) => Number(data[row * width + i]));
    const best = values.map((_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b);
    for (const i of best.slice(0, count)) {
      const label = labels[i];
      texts.push(`${values[i]!.toFixed(6)}:${i}${label === undefined ? '' : `:${label}`}`);
    }
  }
  return { shape: dims.length > 1 ? [rows, count] : [count], texts };
}

const encoder = new TextEncoder();

export function classBytes(texts: readonly string[]): Uint8Array {
  const encoded = texts.map((text) => encoder.encode(text));
  const bytes = new Uint8Array(encoded.reduce((sum, { length }) => sum + 4 + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const text of encoded) {
    view.setUint32(at, text.length, true);
    bytes.set(text, at + 4);
    at += 4 + text.length;
  }
  return bytes;
}
