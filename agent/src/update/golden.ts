/** Golden vectors held against a model's answers. Pure: the same check at the desk, in preflight and at readiness. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { GoldenVectors, TensorSpec } from '@skein/protocol/manifest.ts';
import type { TensorData, Tensors } from '../inference/backend.ts';
import { tensorNumbers } from '../pipeline/tensor-numbers.ts';

export type GoldenVector = GoldenVectors['vectors'][number];
type Flat = GoldenVector['inputs'][string];

const MAKE: Record<TensorSpec['type'], (values: number[]) => TensorData> = {
  float32: (v) => Float32Array.from(v),
  float64: (v) => Float64Array.from(v),
  // Raw bits, as everywhere: golden inputs of float16 models are written as bits.
  float16: (v) => Uint16Array.from(v),
  int8: (v) => Int8Array.from(v),
  uint8: (v) => Uint8Array.from(v),
  bool: (v) => Uint8Array.from(v),
  int32: (v) => Int32Array.from(v),
  int64: (v) => BigInt64Array.from(v, (x) => BigInt(Math.trunc(x))),
};

/** @throws SkeinError BUNDLE_INVALID for an input that the model does not declare or of the wrong length */
export function goldenInputs(vector: GoldenVector, specs: readonly TensorSpec[]): Tensors {
  const entries = Object.entries(vector.inputs).map(([name, { shape, data }]) => {
    const spec = specs.find((s) => s.name === name);
    if (!spec)
      throw new SkeinError('BUNDLE_INVALID', `golden input \`${name}\` is not an input of the model`);
    if (shape.reduce((a, b) => a * b, 1) !== data.length) {
      throw new SkeinError(
        'BUNDLE_INVALID',
        `golden input \`${name}\`: ${data.length} values do not fill its shape`,
      );
    }
    return [name, { type: spec.type, dims: shape, data: MAKE[spec.type](data) }] as const;
  });
  return Object.fromEntries(entries);
}

export interface GoldenFinding {
  code: 'GOLDEN_MISMATCH' | 'MODEL_OUTPUT_NOT_FINITE';
  detail: string;
}

/** The first way in which `outputs` are not the vector's within `tolerance`; undefined when they are. */
export function compareGolden(
  vector: GoldenVector,
  outputs: Tensors,
  tolerance: number,
): GoldenFinding | undefined {
  for (const [name, expected] of Object.entries(vector.outputs)) {
    const finding = compareOne(name, expected, outputs[name], tolerance);
    if (finding) return finding;
  }
  return undefined;
}

function compareOne(name: string, expected: Flat, found: Tensors[string] | undefined, tolerance: number) {
  if (!found || found.data.length !== expected.data.length) {
    const detail = `output \`${name}\` has ${found?.data.length ?? 'no'} values, ${expected.data.length} expected`;
    return { code: 'GOLDEN_MISMATCH', detail } as const;
  }
  const numbers = tensorNumbers(found);
  let worst = 0;
  for (let i = 0; i < expected.data.length; i++) {
    const value = numbers[i]!;
    if (!Number.isFinite(value)) {
      return { code: 'MODEL_OUTPUT_NOT_FINITE', detail: `output \`${name}\`[${i}] is ${value}` } as const;
    }
    worst = Math.max(worst, Math.abs(value - expected.data[i]!));
  }
  if (worst <= tolerance) return undefined;
  const detail = `output \`${name}\` differs by ${worst.toPrecision(3)}, ${tolerance} allowed`;
  return { code: 'GOLDEN_MISMATCH', detail } as const;
}
