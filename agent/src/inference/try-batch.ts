/**
 * May this model be batched? A free first dimension is a promise that some graphs break: a reshape with the batch baked
 * in, a mean over it, a range that dynamic quantization takes from all rows together. So two unlike rows are run alone
 * and together before the model is used, and batching is off, with the reason, unless the answers agree.
 */
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { LoadedModel, Tensor, TensorData, Tensors } from './backend.ts';
import { batchable, joinRows, splitRows } from './batch.ts';
import { zeroInputs } from './tensors.ts';

export interface Batching {
  /** Rows of one run; 1: none. */
  maxBatch: number;
  /** For people. */
  reason: string;
}

/** Of the largest output value; a step of an int8 output is below it, a range taken from a row 64 times larger is not. */
const TOLERANCE = 0.02;
/** A batch on the caller's thread may hold it this long. */
const INLINE_BATCH_MS: Millis = 2;
/** One run that something else held up says nothing of the model, which would keep small batches until it is loaded again. */
const TRIES = 3;

/** @param maxBatch what is allowed. Never rejects: a model that can not be tried is not batched. */
export async function tryBatch(model: LoadedModel, maxBatch: number, clock: Clock): Promise<Batching> {
  if (maxBatch <= 1) return { maxBatch: 1, reason: 'no batching: as configured' };
  if (!batchable(model.inputs, model.outputs))
    return { maxBatch: 1, reason: 'no batching: not every tensor has a free first dimension' };
  try {
    const difference = await compare(model);
    if (difference) return { maxBatch: 1, reason: `no batching: ${difference}` };
    const size = model.gather ? await inlineSize(model, maxBatch, clock) : maxBatch;
    return {
      maxBatch: size,
      reason: size > 1 ? `batches of up to ${size}` : 'no batching: two rows take too long',
    };
  } catch (thrown) {
    return { maxBatch: 1, reason: `no batching: two rows together failed (${asSkeinError(thrown).message})` };
  }
}

/** What differs between two rows alone and together. */
async function compare(model: LoadedModel): Promise<string | undefined> {
  const rows = [probeRow(model.inputs, 1), probeRow(model.inputs, 64)];
  const alone = [await model.infer(rows[0]!), await model.infer(rows[1]!)];
  const together = splitRows(await model.infer(joinRows(rows)), [1, 1]);
  for (const [i, answer] of alone.entries())
    for (const name in answer)
      if (!alike(answer[name]!, together[i]![name]!))
        return `\`${name}\` of a row depends on the rows beside it`;
  return undefined;
}

/** The largest power of two times below `maxBatch` whose run is short enough for the caller's thread. */
async function inlineSize(model: LoadedModel, maxBatch: number, clock: Clock): Promise<number> {
  const row = probeRow(model.inputs, 1);
  for (let size = maxBatch; size > 1; size >>= 1) {
    const inputs = joinRows(Array.from({ length: size }, () => row));
    await model.infer(inputs);
    for (let run = 0; run < TRIES; run++)
      if ((await runMs(model, inputs, clock)) <= INLINE_BATCH_MS) return size;
  }
  return 1;
}

async function runMs(model: LoadedModel, inputs: Tensors, clock: Clock): Promise<Millis> {
  const started = clock.mono();
  await model.infer(inputs);
  return clock.mono() - started;
}

/** 0, ½, 1, 2, 4 as IEEE 754 half floats. */
const HALVES = [0, 0x3800, 0x3c00, 0x4000, 0x4400];

/** One row of every input, different for each `amplitude`. Integers may be indices into something small: 0 or 1. */
function probeRow(specs: readonly TensorSpec[], amplitude: number): Tensors {
  const row = zeroInputs(specs);
  for (const { type, data } of Object.values(row)) {
    const valueAt = (i: number): number => {
      if (type === 'float32' || type === 'float64') return amplitude * Math.sin(i + amplitude);
      if (type === 'float16') return HALVES[(i * (amplitude % 5)) % HALVES.length]!;
      return amplitude > 1 ? 1 : 0;
    };
    fill(data, valueAt);
  }
  return row;
}

function fill(data: TensorData, valueAt: (i: number) => number): void {
  if (data instanceof BigInt64Array) for (let i = 0; i < data.length; i++) data[i] = BigInt(valueAt(i));
  else for (let i = 0; i < data.length; i++) data[i] = valueAt(i);
}

/** Half floats are compared by their bits: 2% is about 20 steps. */
function alike(alone: Tensor, together: Tensor): boolean {
  if (alone.data.length !== together.data.length) return false;
  const values = (alone.type === 'int64' ? [] : alone.data) as Float32Array;
  const largest = values.reduce((max, value) => (Math.abs(value) > max ? Math.abs(value) : max), 0);
  const bound = alone.type === 'float16' ? 20 : Math.fround(TOLERANCE * largest);
  return (alone.data as Float32Array).every((value, i) => {
    const other = together.data[i] as number;
    return Object.is(value, other) || value === other || Math.abs(Number(value) - Number(other)) <= bound;
  });
}
