/**
 * YUV4MPEG2 (yuv4mpeg(5) of mjpegtools): a header line `YUV4MPEG2 W640 H480 F30:1 … C420jpeg`, then for each frame a
 * line `FRAME…` and the planes. Size and layout come from the header. 4:2:0 of every siting and mono are taken; what
 * else there is needs twice the bandwidth for nothing that a model sees.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { OutputReader, ReaderHandlers } from '../command-source.ts';
import { FrameGatherer, type FrameShape, frameBytes } from './raw.ts';

const MAX_HEADER = 1_024;
const MAX_SIDE = 16_384;
const NEWLINE = 10;
const FIX = 'Let the command write 4:2:0: `ffmpeg … -pix_fmt yuv420p -f yuv4mpegpipe -`.';

const wrong = (what: string, fix = FIX): SkeinError =>
  new SkeinError('SOURCE_INVALID', `Y4M: ${what}`, { fix });

/** @throws SkeinError SOURCE_INVALID */
export function y4mShape(header: string, maxBytes: Bytes): FrameShape {
  const [magic, ...tags] = header.split(' ');
  if (magic !== 'YUV4MPEG2')
    throw wrong(`the stream begins with “${header.slice(0, 40)}”, not with YUV4MPEG2`);
  const tag = (letter: string) => tags.find((each) => each.startsWith(letter))?.slice(1);
  const [width, height] = [Number(tag('W')), Number(tag('H'))];
  const isSide = (side: number) => Number.isInteger(side) && side > 0 && side <= MAX_SIDE;
  if (!isSide(width) || !isSide(height))
    throw wrong(`no size of 1 to ${MAX_SIDE} in “${header.slice(0, 80)}”`);
  const chroma = tag('C') ?? '420';
  // 420p10 and the like are two bytes a sample.
  const format = /^420(jpeg|mpeg2|paldv)?$/.test(chroma) ? 'i420' : chroma === 'mono' ? 'gray8' : undefined;
  if (!format) throw wrong(`chroma C${chroma.slice(0, 16)} is not read`);
  const shape = { format, width, height } as const;
  if (frameBytes(shape) > maxBytes)
    throw wrong(
      `a frame of ${width} × ${height} is longer than ${maxBytes} bytes`,
      'Raise `maxSize`, or scale it down.',
    );
  return shape;
}

export const y4mReader =
  (maxBytes: Bytes) =>
  (handlers: ReaderHandlers): OutputReader => {
    let line = '';
    let gatherer: FrameGatherer | undefined;
    let inFrame = false;

    /** @returns where the line ended in the chunk. */
    const readLine = (chunk: Uint8Array, from: number): number => {
      const end = chunk.indexOf(NEWLINE, from);
      const to = end < 0 ? chunk.length : end;
      line += String.fromCharCode(...chunk.subarray(from, Math.min(to, from + MAX_HEADER + 1)));
      if (line.length > MAX_HEADER) throw wrong('a header without an end');
      if (end < 0) return to;
      if (!gatherer) gatherer = new FrameGatherer(y4mShape(line, maxBytes));
      else if (/^FRAME( |$)/.test(line)) inFrame = true;
      else throw wrong(`“${line.slice(0, 20)}” where FRAME should be`);
      line = '';
      return to + 1;
    };
    const readFrame = (chunk: Uint8Array, from: number): number => {
      const { at, picture } = gatherer!.take(chunk, from);
      if (picture) {
        inFrame = false;
        handlers.found({ values: {}, picture });
      }
      return at;
    };
    return {
      push(chunk) {
        try {
          for (let at = 0; at < chunk.length; ) at = inFrame ? readFrame(chunk, at) : readLine(chunk, at);
        } catch (error) {
          handlers.broken(error as Error);
        }
      },
      end: () => {},
    };
  };
