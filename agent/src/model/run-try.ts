/** `skein-model try`: what does this model say about this input? No manifest and no keys are needed. */
import type { Tensors } from '../inference/backend.ts';
import type { OnnxSession } from '../inference/onnx-session.ts';
import { decodePicture } from '../pipeline/image-decode.ts';
import { argmax, postprocess } from '../pipeline/postprocess.ts';
import { openArgument } from './data/disk-data.ts';
import { type Fed, feeder, rawWidth } from './data/fed.ts';
import { strictly } from './data/samples.ts';
import { readBundle } from './disk-bundle.ts';
import { isModelFile, readModelFile, variantBytes } from './disk-model.ts';
import { openModel } from './onnx-quantize.ts';

/** One line of the answer: flat, for a table or JSON. */
export type TryRow = Record<string, string | number | readonly object[] | number[]>;

const SHOWN = 10;

function describeRow(outputs: Tensors): TryRow {
  const row: TryRow = {};
  for (const [name, { data }] of Object.entries(outputs)) {
    const values = Array.from(data as Float32Array, Number);
    if (values.length > 1) {
      const best = argmax(values);
      row[`${name} top`] = best;
      row[`${name} value`] = values[best]!;
    }
    row[name] = values.length > SHOWN ? [...values.slice(0, SHOWN)] : values;
  }
  return row;
}

/** Numbers given one by one (`1 2 3`) are one sample. */
function argumentsOf(inputs: readonly string[]): readonly string[] {
  const scalars = inputs.length > 1 && inputs.every((text) => text !== '' && !Number.isNaN(Number(text)));
  return scalars ? [inputs.join(',')] : inputs;
}

type Session = Pick<OnnxSession, 'inputs' | 'run' | 'close'>;
type Answer = (fed: Fed, outputs: Tensors) => TryRow;

async function answers(
  session: Session,
  inputs: readonly string[],
  preprocess: Parameters<typeof feeder>[1],
  answer: Answer,
): Promise<TryRow[]> {
  const rows: TryRow[] = [];
  let sample = 0;
  for (const input of argumentsOf(inputs)) {
    const data = await openArgument(input, { width: rawWidth(session.inputs, preprocess) });
    const feed = feeder(session.inputs, preprocess, data.columns, decodePicture);
    for await (const entry of strictly(data.samples())) {
      const fed = await feed.push(entry);
      if (fed) {
        const row: TryRow = { sample, ...answer(fed, await session.run(fed.inputs)) };
        if (fed.truth !== undefined) row.truth = fed.truth;
        rows.push(row);
      }
      sample++;
    }
  }
  return rows;
}

/** @throws SkeinError at the first sample that does not fit; `predict` goes on after it */
export async function runTry(model: string, inputs: readonly string[]): Promise<TryRow[]> {
  const bundle = isModelFile(model) ? undefined : await readBundle(model);
  const bytes = bundle ? variantBytes(bundle) : await readModelFile(model);
  const session = await openModel(bytes);
  try {
    if (!bundle) return await answers(session, inputs, undefined, (_, outputs) => describeRow(outputs));
    const { preprocess, postprocess: post } = bundle.manifest;
    return await answers(session, inputs, preprocess, (fed, outputs) => {
      const { label, score, alarm, top, boxes } = postprocess(post, outputs, fed.input, fed.place);
      const shown = { ...(top && { top }), ...(boxes && { boxes }) };
      return { label, score, alarm, ...shown };
    });
  } finally {
    await session.close();
  }
}
