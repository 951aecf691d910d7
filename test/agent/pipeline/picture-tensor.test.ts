import { imageDims, imageTensor, pictureRow, placementOf } from '@skein/agent/pipeline/picture-tensor.ts';
import type { Pixels } from '@skein/agent/pipeline/pixels.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import { describe, expect, it } from 'vitest';
import { syntheticPicture } from './picture-files.ts';

const wanted = (change: Partial<ImagePreprocess> = {}): ImagePreprocess => ({
  kind: 'image',
  width: 2,
  height: 2,
  resize: { mode: 'stretch', filter: 'nearest' },
  colour: 'RGB',
  type: 'uint8',
  layout: 'NHWC',
  ...change,
});

/** Two by two: red, green, blue, white. */
const four: Pixels = {
  width: 2,
  height: 2,
  channels: 3,
  data: Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255),
};
const wide: Pixels = { width: 4, height: 1, channels: 3, data: Uint8Array.from({ length: 12 }, (_, i) => i) };

describe('a picture becomes a tensor', () => {
  it('of pixels or of planes', () => {
    expect([...(imageTensor(wanted(), four) as Uint8Array)]).toEqual([...four.data]);
    expect([...(imageTensor(wanted({ layout: 'NCHW' }), four) as Uint8Array)]).toEqual([
      ...[255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255],
    ]);
    expect(imageDims(wanted())).toEqual([1, 2, 2, 3]);
    expect(imageDims(wanted({ layout: 'NCHW' }))).toEqual([1, 3, 2, 2]);
    expect(imageDims(wanted({ layout: 'NHW', colour: 'gray' }))).toEqual([1, 2, 2]);
  });

  it('in the order of the model’s colours', () => {
    expect([...(imageTensor(wanted({ colour: 'BGR' }), four) as Uint8Array)].slice(0, 3)).toEqual([
      0, 0, 255,
    ]);
    expect([...(imageTensor(wanted({ colour: 'gray' }), four) as Uint8Array)]).toEqual([76, 150, 29, 255]);
  });

  it('normalised per channel, in the order of the colours', () => {
    const normalise = { scale: 1 / 255, mean: [0.5, 0, 0.25], std: [0.5, 1, 2] };
    const made = imageTensor(wanted({ normalise, type: 'float32' }), four) as Float32Array;
    expect([...made.slice(0, 3)]).toEqual([1, 0, -0.125]);
    const turned = imageTensor(wanted({ normalise, type: 'float32', colour: 'BGR' }), four) as Float32Array;
    expect([...turned.slice(0, 3)]).toEqual([-1, 0, 0.375]);
  });

  it('of rounded and clamped integers', () => {
    const shifted = { scale: 1, mean: [128], std: [1] };
    expect(
      [...(imageTensor(wanted({ normalise: shifted, type: 'int8' }), four) as Int8Array)].slice(0, 3),
    ).toEqual([127, -128, -128]);
    const large = { scale: 3, mean: [0], std: [1] };
    expect([...(imageTensor(wanted({ normalise: large }), four) as Uint8Array)].slice(0, 3)).toEqual([
      255, 0, 0,
    ]);
  });

  it('stretched, fitted on its fill, or cut to its centre', () => {
    const red = (change: Partial<ImagePreprocess['resize']>, width = 2, height = 2) => {
      const resize = { mode: 'stretch', filter: 'nearest', ...change } as const;
      const made = imageTensor(wanted({ resize, width, height, layout: 'NCHW' }), wide) as Uint8Array;
      return [...made.slice(0, width * height)];
    };
    expect(red({ mode: 'stretch' })).toEqual([3, 9, 3, 9]);
    expect(red({ mode: 'fit' })).toEqual([3, 9, 114, 114]);
    expect(red({ mode: 'fit', fill: [7, 8, 9] }, 4, 3)).toEqual([7, 7, 7, 7, 0, 3, 6, 9, 7, 7, 7, 7]);
    expect(red({ mode: 'crop' })).toEqual([3, 6, 3, 6]);
    expect(red({ mode: 'crop', shortSide: 4 })).toEqual([3, 6, 3, 6]);
  });

  it('and its place says where each pixel came from', () => {
    const shape = (mode: 'fit' | 'crop', width: number, height: number, shortSide?: number) => ({
      width,
      height,
      resize: { mode, filter: 'bilinear' as const, ...(shortSide ? { shortSide } : {}) },
    });
    expect(placementOf(shape('fit', 640, 640), 1920, 1080)).toMatchObject({
      width: 640,
      height: 360,
      top: 140,
    });
    expect(placementOf(shape('crop', 224, 224, 256), 640, 480)).toMatchObject({
      ...{ width: 341, height: 256, left: -58, top: -16 },
    });
    expect(placementOf(shape('crop', 300, 100), 100, 100)).toMatchObject({
      width: 300,
      height: 300,
      top: -100,
    });
  });

  it('of the model’s size whatever the picture’s is', () => {
    for (const mode of ['stretch', 'fit', 'crop'] as const) {
      for (const filter of ['nearest', 'bilinear', 'area'] as const) {
        for (const [width, height] of [
          [1, 1],
          [1, 300],
          [300, 1],
          [17, 31],
          [64, 64],
        ] as const) {
          const made = imageTensor(
            wanted({ width: 13, height: 8, resize: { mode, filter } }),
            syntheticPicture(width, height),
          );
          expect(made.length, `${mode} ${filter} ${width} × ${height}`).toBe(13 * 8 * 3);
        }
      }
    }
  });
});

describe('what drift is charted on', () => {
  it('is brightness and contrast between 0 and 1', () => {
    const [brightness, contrast] = pictureRow(four);
    expect(brightness).toBeCloseTo((0.299 + 0.587 + 0.114 + 1) / 4, 9);
    expect(contrast).toBeGreaterThan(0.2);
    expect([...pictureRow({ ...four, data: new Uint8Array(12) })]).toEqual([0, 0]);
  });
});
