/** Raw video: frame after frame of a size that is known, without padding, as `-f rawvideo` writes them. */
import type { Bytes } from '@skein/protocol/units.ts';
import type { OutputReader, ReaderHandlers } from '../command-source.ts';
import type { Picture } from '../port.ts';

export type PixelFormat = Exclude<Picture['format'], 'jpeg' | 'png'>;
export const PIXEL_FORMATS = ['gray8', 'rgb24', 'rgba32', 'i420'] as const satisfies readonly PixelFormat[];

export interface FrameShape {
  format: PixelFormat;
  width: number;
  height: number;
}

export function frameBytes({ format, width, height }: FrameShape): Bytes {
  const half = (size: number) => Math.ceil(size / 2);
  if (format === 'i420') return width * height + 2 * half(width) * half(height);
  return width * height * { gray8: 1, rgb24: 3, rgba32: 4 }[format];
}

/** Gathers one frame at a time; each gets bytes of its own, because a model may still read the one before. */
export class FrameGatherer {
  readonly #shape: FrameShape;
  readonly #size: Bytes;
  #bytes: Uint8Array;
  #filled = 0;

  constructor(shape: FrameShape) {
    this.#shape = shape;
    this.#size = frameBytes(shape);
    this.#bytes = new Uint8Array(this.#size);
  }

  /** Takes what the frame needs of `chunk` from `from` on. @returns where it stopped, and the frame if it is whole. */
  take(chunk: Uint8Array, from: number): { at: number; picture?: Picture } {
    const at = Math.min(chunk.length, from + this.#size - this.#filled);
    this.#bytes.set(chunk.subarray(from, at), this.#filled);
    this.#filled += at - from;
    if (this.#filled < this.#size) return { at };
    const picture = { ...this.#shape, bytes: this.#bytes };
    this.#bytes = new Uint8Array(this.#size);
    this.#filled = 0;
    return { at, picture };
  }
}

export const rawReader =
  (shape: FrameShape) =>
  (handlers: ReaderHandlers): OutputReader => {
    const gatherer = new FrameGatherer(shape);
    return {
      push(chunk) {
        for (let from = 0; from < chunk.length; ) {
          const { at, picture } = gatherer.take(chunk, from);
          from = at;
          if (picture) handlers.found({ values: {}, picture });
        }
      },
      end: () => {},
    };
  };
