import { deflateSync } from 'node:zlib';
import { predictOnce } from '@skein/agent/api/predict-once.ts';
import type { Tensors } from '@skein/agent/inference/backend.ts';
import type { CurrentModel } from '@skein/agent/inference/engine.ts';
import { workerPictures } from '@skein/agent/pipeline/worker-pictures.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { pngOf } from '../pipeline/picture-files.ts';

const pictures = workerPictures();
afterAll(() => pictures.close());

/** One row of two gray pixels. */
const rows = deflateSync(Uint8Array.of(0, 10, 10, 10, 200, 200, 200));
const image = Buffer.from(pngOf({ width: 2, height: 1, rows })).toString('base64');

const model = {
  manifest: {
    name: 'cam',
    inputs: [{ name: 'x', type: 'uint8', shape: [-1, 1, 2] }],
    preprocess: {
      ...{ kind: 'image', width: 2, height: 1, colour: 'gray', type: 'uint8', layout: 'NHW' },
      resize: { mode: 'stretch', filter: 'nearest' },
    },
    postprocess: {
      ...{ kind: 'classify', output: 'y', softmax: false, labels: ['dark', 'bright'] },
      ...{ alarmLabels: ['bright'], topK: 2 },
    },
  },
} as unknown as CurrentModel;
const echo = async ({ x }: Tensors) => ({ outputs: { y: x! }, version: '1.0.0' });

describe('one picture asked of the API', () => {
  it('is prepared and judged as a reading with it would be', async () => {
    expect(await predictOnce(model, { image }, echo, pictures)).toEqual({
      ...{ model: 'cam', version: '1.0.0', label: 'bright', score: 200, alarm: 1 },
      top: [
        { label: 'bright', score: 200 },
        { label: 'dark', score: 10 },
      ],
    });
  });

  it.each([
    ['nothing', undefined, 'REQUEST_INVALID'],
    ['a number', 7, 'REQUEST_INVALID'],
    ['no base64', '%%%', 'IMAGE_INVALID'],
    ['no picture', Buffer.from('hello').toString('base64'), 'IMAGE_INVALID'],
    ['half a picture', image.slice(0, 60), 'IMAGE_INVALID'],
  ])('is refused when it is %s', async (_what, given, code) => {
    await expect(predictOnce(model, { image: given }, echo, pictures)).rejects.toMatchObject({ code });
  });

  it('is not taken where nothing decodes', async () => {
    await expect(predictOnce(model, { image }, echo)).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      message: 'the model takes pictures, not features',
    });
  });
});
