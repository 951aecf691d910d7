/** Inputs to measure on when nobody gives any: the same every time, and no zeros, which some kernels skip. Pure. */
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Tensors } from '../inference/backend.ts';
import { zeroInputs } from '../inference/tensors.ts';
import { float16Bits } from './float16.ts';

/**
 * Floats in [0, 1); integers are 0 or 1, which any table of a model has. Free dimensions but the first are 1.
 * @throws SkeinError TENSOR_INVALID when the model takes one sample at a time
 */
export function benchInputs(specs: readonly TensorSpec[], batch: number): Tensors {
  const fixed = batch > 1 ? specs.find(({ shape }) => !(shape[0]! < 0)) : undefined;
  if (fixed) {
    throw new SkeinError(
      'TENSOR_INVALID',
      `\`${fixed.name}\` [${fixed.shape.join(', ')}] has no free first dimension`,
      {
        fix: 'Measure it with --batch 1.',
      },
    );
  }
  const batched = specs.map((spec) =>
    batch > 1 ? { ...spec, shape: [batch, ...spec.shape.slice(1)] } : spec,
  );
  const inputs = zeroInputs(batched);
  const uniform = seededUniform(1);
  for (const { type, data } of Object.values(inputs)) {
    for (let i = 0; i < data.length; i++) {
      const value = uniform();
      if (type === 'int64') (data as BigInt64Array)[i] = value < 0.5 ? 0n : 1n;
      else if (type === 'float16') (data as Uint16Array)[i] = float16Bits(value);
      else (data as Float32Array)[i] = type.startsWith('float') ? value : Math.round(value);
    }
  }
  return inputs;
}
