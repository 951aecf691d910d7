/** Weights and biases in int8 and int32, symmetric. Pure; arrays in, arrays out. */

export interface QuantizedWeights {
  values: Int8Array;
  /** One a channel, or one for all. */
  scales: Float32Array;
}

/** So that input scale · weight scale stays a normal float32. */
const LEAST_SCALE = 1e-20;
/** Biases up to this many steps; int32 leaves as much again for the sum. */
const MOST_BIAS_STEPS = 2 ** 30;
/** A channel without weights is all bias: its steps are made this fine. */
const BIAS_STEPS = 2 ** 20;
const INT32_MAX = 2 ** 31 - 1;

const clamp = (value: number, limit: number): number => Math.max(-limit, Math.min(limit, value));

export interface WeightRequest {
  weights: Float32Array;
  dims: readonly number[];
  /** Axis of the channels; undefined: one scale for all. */
  axis: number | undefined;
  /** Largest magnitude, 127 or 63. */
  limit: number;
  bias: Float32Array | undefined;
  inputScale: number;
}

/** Channel of each value by its position. */
function channels({ dims, axis }: Pick<WeightRequest, 'dims' | 'axis'>) {
  if (axis === undefined) return { count: 1, of: () => 0 };
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const count = dims[axis]!;
  return { count, of: (i: number) => Math.floor(i / inner) % count };
}

/** scale = max |w| / limit; larger where the bias would not fit int32, and the bias's own where all weights are zero. */
export function quantizeWeights(request: WeightRequest): QuantizedWeights {
  const { weights, limit, bias, inputScale } = request;
  const { count, of } = channels(request);
  const largest = new Float64Array(count);
  weights.forEach((w, i) => {
    const c = of(i);
    largest[c] = Math.max(largest[c]!, Math.abs(w));
  });
  const scales = Float32Array.from(largest, (value, c) => {
    const biased = Math.abs(bias?.[c] ?? 0);
    if (value === 0) return biased > 0 ? Math.max(LEAST_SCALE, biased / inputScale / BIAS_STEPS) : 1;
    return Math.max(LEAST_SCALE, value / limit, biased / inputScale / MOST_BIAS_STEPS);
  });
  const values = Int8Array.from(weights, (w, i) => clamp(Math.round(w / scales[of(i)]!), limit));
  return { values, scales };
}

/** Bias scale = input scale · weight scale, rounded to float32 as the runtime multiplies them. */
export function quantizeBias(bias: Float32Array, weightScales: Float32Array, inputScale: number) {
  const scales = Float32Array.from(bias, (_, c) => weightScales[c % weightScales.length]! * inputScale);
  const values = Int32Array.from(bias, (value, c) => clamp(Math.round(value / scales[c]!), INT32_MAX));
  return { values, scales };
}
