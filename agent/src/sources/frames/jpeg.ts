/**
 * JPEGs out of a stream (ITU-T T.81, annex B). From SOI on the segments are walked by their lengths, so that a thumbnail
 * inside an APP segment is skipped with it; in entropy-coded data FF 00 and RSTn are data and any other marker ends the
 * scan. What stands between images (multipart headers, padding) is skipped. An image without its end, or longer than the
 * limit, is one bad reading, and the next SOI begins another. At most the limit and one chunk are held.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import type { OutputReader, ReaderHandlers } from '../command-source.ts';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;

const isRestart = (marker: number): boolean => marker >= 0xd0 && marker <= 0xd7;

/** The next FF before `length`: behind it the buffer holds what was there before. */
const nextMarker = (bytes: Uint8Array, from: number, length: number): number =>
  bytes.subarray(0, length).indexOf(0xff, from);

/** Where an image ends, walked as its bytes come in. */
export class JpegWalk {
  /** Up to here it is understood. */
  at = 2;
  #inScan = false;

  /** @param bytes from SOI on, `length` of them. `whole`: it ends before `at`. `broken`: another begins, or rubbish, at `at`. */
  go(bytes: Uint8Array, length: number): 'more' | 'whole' | 'broken' {
    for (;;) {
      if (this.#inScan && !this.#scan(bytes, length)) return 'more';
      if (this.at + 2 > length) return 'more';
      if (bytes[this.at] !== 0xff) return 'broken';
      const marker = bytes[this.at + 1]!;
      if (marker === EOI) {
        this.at += 2;
        return 'whole';
      }
      if (marker === SOI || marker === 0) return 'broken';
      if (marker === 0xff) this.at += 1;
      else if (marker === 0x01 || isRestart(marker)) this.at += 2;
      else if (this.at + 4 > length) return 'more';
      else if (!this.#segment(bytes, marker)) return 'broken';
    }
  }

  #segment(bytes: Uint8Array, marker: number): boolean {
    const length = (bytes[this.at + 2]! << 8) | bytes[this.at + 3]!;
    this.at += 2 + length;
    this.#inScan = marker === SOS;
    return length >= 2;
  }

  /** To the marker that ends the entropy-coded data. @returns whether it came. */
  #scan(bytes: Uint8Array, length: number): boolean {
    while (this.at + 1 < length) {
      const found = nextMarker(bytes, this.at, length);
      this.at = found < 0 ? length : found;
      if (this.at + 1 >= length) return false;
      const next = bytes[this.at + 1]!;
      if (next !== 0 && next !== 0xff && !isRestart(next)) {
        this.#inScan = false;
        return true;
      }
      this.at += next === 0xff ? 1 : 2;
    }
    return false;
  }
}

const bad = (what: string, fix: string): SkeinError =>
  new SkeinError('SOURCE_INVALID', `MJPEG: ${what}`, { fix });
const START = 64 * KIB;

export const jpegReader =
  (maxBytes: Bytes) =>
  (handlers: ReaderHandlers): OutputReader => {
    let bytes = new Uint8Array(START);
    let length = 0;
    let walk: JpegWalk | undefined;

    const append = (chunk: Uint8Array): void => {
      if (length + chunk.length > bytes.length) {
        const grown = new Uint8Array(2 ** Math.ceil(Math.log2(length + chunk.length)));
        grown.set(bytes.subarray(0, length));
        bytes = grown;
      }
      bytes.set(chunk, length);
      length += chunk.length;
    };
    const drop = (count: number): void => {
      bytes.copyWithin(0, count, length);
      length -= count;
    };
    /** To the next FF D8 FF. @returns whether it is there. */
    const seek = (from: number): boolean => {
      for (let at = nextMarker(bytes, from, length); at >= 0; at = nextMarker(bytes, at + 1, length)) {
        if (at + 2 >= length) break;
        if (bytes[at + 1] !== SOI || bytes[at + 2] !== 0xff) continue;
        drop(at);
        walk = new JpegWalk();
        return true;
      }
      drop(Math.max(0, length - 2));
      walk = undefined;
      return false;
    };
    const give = (size: number): void => {
      const picture = { format: 'jpeg', bytes: bytes.slice(0, size) } as const;
      drop(size);
      walk = undefined;
      handlers.found({ values: {}, picture });
    };
    const skip = (from: number, what: string, fix: string): void => {
      handlers.failed(bad(what, fix));
      seek(from);
    };
    const turn = (): boolean => {
      if (!walk && !seek(0)) return false;
      const state = walk!.go(bytes, length);
      if (state === 'whole' && walk!.at <= maxBytes) give(walk!.at);
      else if (state === 'broken')
        skip(Math.min(walk!.at, length), 'an image without its end', 'Look at what the command writes.');
      else if (state === 'whole' || length > maxBytes)
        skip(
          state === 'whole' ? walk!.at : length,
          `an image longer than ${maxBytes} bytes`,
          'Raise `maxSize`.',
        );
      else return false;
      return true;
    };
    return {
      push(chunk) {
        append(chunk);
        while (turn());
      },
      end: () => {},
    };
  };
