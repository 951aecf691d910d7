/**
 * A decoded picture to the model's input, as the manifest says; identical at pack time and on the device. Pure.
 * Resize → colours → (x · scale − mean) / std → element type → layout.
 */
import { channelsOf, type ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { TensorData } from '../inference/backend.ts';
import type { Pixels } from './pixels.ts';
import { type Axis, resample } from './resample.ts';

/** Where the resized picture lies on the model's image: negative `left` or `top` is cut off, positive is filled. */
export interface Placement {
  /** Of the model's image. */
  imageWidth: number;
  imageHeight: number;
  /** Of the source picture. */
  sourceWidth: number;
  sourceHeight: number;
  /** Of the whole resized picture. */
  width: number;
  height: number;
  left: number;
  top: number;
}

export type ImageShape = Pick<ImagePreprocess, 'width' | 'height' | 'resize'>;

/** Half to even, as Python's `round`: torchvision's centre crop. */
const roundEven = (value: number): number => {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
};

function cropped({ width, height, resize }: ImageShape, pictureWidth: number, pictureHeight: number) {
  const short = resize.shortSide;
  const byWidth = short ? pictureWidth <= pictureHeight : width * pictureHeight >= height * pictureWidth;
  const least = byWidth ? (short ?? width) : (short ?? height);
  return byWidth
    ? { width: least, height: Math.max(height, Math.floor((least * pictureHeight) / pictureWidth)) }
    : { width: Math.max(width, Math.floor((least * pictureWidth) / pictureHeight)), height: least };
}

function fitted({ width, height }: ImageShape, pictureWidth: number, pictureHeight: number) {
  const scale = Math.min(width / pictureWidth, height / pictureHeight);
  return {
    width: Math.min(width, Math.max(1, Math.round(pictureWidth * scale))),
    height: Math.min(height, Math.max(1, Math.round(pictureHeight * scale))),
  };
}

export function placementOf(shape: ImageShape, sourceWidth: number, sourceHeight: number): Placement {
  const { width, height } = shape;
  const source = { imageWidth: width, imageHeight: height, sourceWidth, sourceHeight };
  switch (shape.resize.mode) {
    case 'stretch':
      return { ...source, width, height, left: 0, top: 0 };
    case 'fit': {
      const size = fitted(shape, sourceWidth, sourceHeight);
      return {
        ...source,
        ...size,
        left: Math.floor((width - size.width) / 2),
        top: Math.floor((height - size.height) / 2),
      };
    }
    case 'crop': {
      const size = cropped(shape, sourceWidth, sourceHeight);
      return {
        ...source,
        ...size,
        left: 0 - roundEven((size.width - width) / 2),
        top: 0 - roundEven((size.height - height) / 2),
      };
    }
    default:
      return shape.resize.mode satisfies never;
  }
}

const LETTERBOX = [114, 114, 114] as const;

/** RGB of the model's size. */
function canvasOf(shape: ImageShape, pixels: Pixels, place: Placement): Uint8Array {
  const { width, height } = shape;
  const axis = (from: number, to: number, offset: number, side: number): Axis => ({
    from,
    to,
    start: Math.max(0, -offset),
    length: Math.min(to, side),
  });
  const across = axis(pixels.width, place.width, place.left, width);
  const down = axis(pixels.height, place.height, place.top, height);
  const part = resample(pixels, across, down, shape.resize.filter);
  if (across.length === width && down.length === height) return part;
  const canvas = new Uint8Array(width * height * 3);
  const fill = shape.resize.fill ?? LETTERBOX;
  for (let i = 0; i < canvas.length; i++) canvas[i] = fill[i % 3]!;
  for (let y = 0; y < down.length; y++) {
    const row = part.subarray(y * across.length * 3, (y + 1) * across.length * 3);
    canvas.set(row, ((Math.max(0, place.top) + y) * width + Math.max(0, place.left)) * 3);
  }
  return canvas;
}

/** ITU-R 601 luma in 16-bit fixed point, as Pillow's `convert('L')`. */
function grayOf(rgb: Uint8Array): Uint8Array {
  const gray = new Uint8Array(rgb.length / 3);
  for (let i = 0, at = 0; i < gray.length; i++, at += 3) {
    gray[i] = (19_595 * rgb[at]! + 38_470 * rgb[at + 1]! + 7_471 * rgb[at + 2]! + 32_768) >> 16;
  }
  return gray;
}

const PLAIN = { scale: 1, mean: [0], std: [1] };

/** What each of the 256 byte values becomes in `channel`. */
function tableOf({ normalise = PLAIN, type }: ImagePreprocess, channel: number): Float64Array {
  const of = (each: readonly number[]): number => each[each.length === 1 ? 0 : channel]!;
  const [low, high] = type === 'int8' ? [-128, 127] : [0, 255];
  return Float64Array.from({ length: 256 }, (_, value) => {
    const normal = (value * normalise.scale - of(normalise.mean)) / of(normalise.std);
    return type === 'float32' ? normal : Math.max(low, Math.min(high, Math.round(normal)));
  });
}

const ELEMENTS = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array };

function laidOut(preprocess: ImagePreprocess, values: Uint8Array): TensorData {
  const channels = channelsOf(preprocess);
  const area = values.length / channels;
  const out = new ELEMENTS[preprocess.type](values.length);
  const planes = preprocess.layout === 'NCHW';
  for (let channel = 0; channel < channels; channel++) {
    const table = tableOf(preprocess, channel);
    const from = preprocess.colour === 'BGR' ? 2 - channel : channel;
    const step = planes ? 1 : channels;
    let to = planes ? channel * area : channel;
    for (let i = 0, at = from; i < area; i++, at += channels, to += step) out[to] = table[values[at]!]!;
  }
  return out;
}

/** Dense, in the order of {@link imageDims}. `pixels` is not changed. */
export function imageTensor(preprocess: ImagePreprocess, pixels: Pixels): TensorData {
  const canvas = canvasOf(preprocess, pixels, placementOf(preprocess, pixels.width, pixels.height));
  return laidOut(preprocess, preprocess.colour === 'gray' ? grayOf(canvas) : canvas);
}

/** Shape of the tensor of one picture. */
export function imageDims({ layout, width, height, colour }: ImagePreprocess): number[] {
  const channels = channelsOf({ colour });
  if (layout === 'NHW') return [1, height, width];
  return layout === 'NCHW' ? [1, channels, height, width] : [1, height, width, channels];
}

/** Mean and standard deviation of the luma, 0 to 1, of at most about 4096 pixels evenly spaced: for drift charts. */
export function pictureRow({ data, width, height }: Pixels): Float64Array {
  const step = Math.max(1, Math.floor((width * height) / 4096));
  let sum = 0;
  let squares = 0;
  let n = 0;
  for (let at = 0; at < data.length; at += 3 * step, n++) {
    const luma = (0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!) / 255;
    sum += luma;
    squares += luma * luma;
  }
  const mean = sum / n;
  return Float64Array.of(mean, Math.sqrt(Math.max(0, squares / n - mean * mean)));
}
