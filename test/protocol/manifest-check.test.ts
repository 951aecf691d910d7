import { type Manifest, parseManifest } from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import {
  checkPreprocess,
  type DetectPostprocess,
  featurePreprocess,
  type ImagePreprocess,
} from '@skein/protocol/manifest-pipeline.ts';
import { describe, expect, it } from 'vitest';

const image: ImagePreprocess = {
  ...{ kind: 'image', width: 4, height: 2, colour: 'RGB', type: 'float32', layout: 'NCHW' },
  resize: { mode: 'fit', filter: 'bilinear', fill: [0, 0, 0] },
  normalise: { scale: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.2] },
};
const detect: DetectPostprocess = {
  ...{ kind: 'detect', output: 'y', order: 'columns', box: 'cxcywh', coordinates: 'pixels' },
  ...{ values: 'classes', activation: 'none', labels: ['a'], alarmLabels: [], suppress: 'per-class' },
  ...{ scoreThreshold: 0.2, iouThreshold: 0.5, maxDetections: 300 },
};
const hash = 'a'.repeat(64);
const manifestOf = (change: Record<string, unknown> = {}): Manifest => {
  const blob = { sha256: hash, size: 1 };
  const variant = {
    id: 'fp32',
    precision: 'fp32',
    backend: 'onnxruntime',
    file: blob,
    tolerance: 0,
    accuracy: null,
  };
  const manifest = {
    ...{
      format: 1,
      name: 'm',
      version: '1.0.0',
      description: '',
      licence: 'MIT',
      variants: [variant],
      golden: blob,
    },
    inputs: [{ name: 'x', type: 'float32', shape: [-1, 3, 2, 4] }],
    outputs: [{ name: 'y', type: 'float32', shape: [-1, 5, 10] }],
    ...{ preprocess: image, postprocess: detect, drift: null, quantization: null },
    ...{ needs: { memoryBytes: 0, tags: [] }, lineage: { trainedFrom: [] } },
    ...change,
  };
  return parseManifest.parse(new TextEncoder().encode(JSON.stringify(manifest)), 'manifest');
};
const said = (change: Record<string, unknown>): string => {
  try {
    checkManifest(manifestOf(change));
    return 'fits';
  } catch (error) {
    return (error as Error).message;
  }
};
const inputOf = (type: string, ...shape: number[]) => ({ inputs: [{ name: 'x', type, shape }] });

describe('a manifest of an image model', () => {
  it('fits when its picture becomes the input', () => {
    expect(said({})).toBe('fits');
    expect(said(inputOf('float32', 1, -1, -1, -1))).toBe('fits');
    expect(said({ preprocess: { ...image, layout: 'NHWC' }, ...inputOf('float32', -1, 2, 4, 3) })).toBe(
      'fits',
    );
    const digits = { ...image, layout: 'NHW', colour: 'gray', type: 'uint8', normalise: undefined };
    expect(said({ preprocess: digits, ...inputOf('uint8', -1, 2, 4) })).toBe('fits');
  });

  it.each([
    [
      'another shape',
      inputOf('float32', -1, 3, 4, 2),
      'the picture becomes [1, 3, 2, 4], input `x` takes [?, 3, 4, 2]',
    ],
    ['another type', inputOf('uint8', -1, 3, 2, 4), 'the picture becomes float32, input `x` takes uint8'],
    ['a batch of eight', inputOf('float32', 8, 3, 2, 4), 'takes [8, 3, 2, 4]'],
    [
      'two means',
      { preprocess: { ...image, normalise: { scale: 1, mean: [0, 0], std: [1] } } },
      '1 or 3 numbers',
    ],
    [
      'numbers beyond float32',
      { preprocess: { ...image, normalise: { scale: 1e300, mean: [0], std: [1e-3] } } },
      'beyond float32',
    ],
    ['colours without an axis', { preprocess: { ...image, layout: 'NHW' } }, 'no axis for colours'],
    [
      'a short side that is too short',
      { preprocess: { ...image, resize: { mode: 'crop', filter: 'area', shortSide: 3 } } },
      'shortSide',
    ],
    [
      'a short side without a crop',
      { preprocess: { ...image, resize: { mode: 'fit', filter: 'area', shortSide: 9 } } },
      'shortSide',
    ],
    [
      'more pixels than any model',
      { preprocess: { ...image, width: 4096, height: 4096 }, ...inputOf('float32', -1, 3, -1, -1) },
      'pixels',
    ],
    [
      'no output of scores',
      { postprocess: { ...detect, values: 'none', scores: 's' } },
      'there is no output `s`',
    ],
    [
      'scores without a name',
      { postprocess: { ...detect, values: 'none' } },
      '`scores` names an output exactly when',
    ],
    ['a background that is no label', { postprocess: { ...detect, background: 1 } }, 'not one of 1 labels'],
  ])('is refused for %s', (_what, change, words) => {
    expect(said(change)).toContain(words);
  });

  it.each([
    ['a side of no pixels', { width: 0 }],
    ['an unknown filter', { resize: { mode: 'fit', filter: 'lanczos' } }],
    ['a deviation of zero', { normalise: { scale: 1, mean: [0], std: [0] } }],
    ['a fill of two', { resize: { mode: 'fit', filter: 'area', fill: [1, 2] } }],
    ['a number that is none', { normalise: { scale: Number.NaN, mean: [0], std: [1] } }],
    ['a misspelt key', { color: 'RGB' }],
  ])('with %s is not even one', (_what, change) => {
    expect(() => checkPreprocess({ ...image, ...change }, 'p.yaml')).toThrowError(
      expect.objectContaining({ code: 'MANIFEST_INVALID', message: expect.stringContaining('p.yaml') }),
    );
  });
});

describe('a manifest of a model of tensors', () => {
  const raw = { preprocess: { kind: 'tensor' }, postprocess: { kind: 'raw', output: 'y' } };

  it('fits with any inputs', () => {
    const several = [
      { name: 'ids', type: 'int64', shape: [-1, -1] },
      { name: 'mask', type: 'bool', shape: [-1] },
    ];
    expect(said({ ...raw, inputs: several })).toBe('fits');
  });

  it('charts no drift and compares nothing with its input', () => {
    const drift = { window: 10, referenceSize: 1, windowsPerMonth: 1, charts: [] };
    expect(said({ ...raw, drift })).toContain('`drift` must be null');
    const reconstruction = { kind: 'reconstruction', output: 'y', unit: 1, threshold: 1 };
    expect(said({ ...raw, postprocess: reconstruction })).toContain('not with tensors');
  });
});

describe('a preprocessing file', () => {
  it('is told by its kind, and names what it lacks', () => {
    expect(checkPreprocess(image, 'p.json')).toEqual(image);
    expect(() => checkPreprocess({ kind: 'picture' }, 'p.json')).toThrow(
      /`kind` must be image, features or tensor/,
    );
    expect(() => checkPreprocess(null, 'p.json')).toThrow(/`kind` must be/);
    expect(() => featurePreprocess(image)).toThrow(/takes pictures, not features/);
  });
});
