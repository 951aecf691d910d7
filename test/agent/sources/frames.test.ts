/** Frames out of a command's output: cut at every place, with what real programs write, and with rubbish. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { childCommand } from '../../../agent/src/sources/child-command.ts';
import {
  commandSource,
  type OutputReader,
  type ReaderHandlers,
} from '../../../agent/src/sources/command-source.ts';
import { jpegReader } from '../../../agent/src/sources/frames/jpeg.ts';
import { frameBytes, PIXEL_FORMATS, rawReader } from '../../../agent/src/sources/frames/raw.ts';
import { y4mReader } from '../../../agent/src/sources/frames/y4m.ts';
import type { Picture } from '../../../agent/src/sources/port.ts';
import { systemClock, systemEntropy } from '../../../agent/src/system-clock.ts';
import { listening } from './listening.ts';

type ReaderFor = (handlers: ReaderHandlers) => OutputReader;

/** What a reader makes of `bytes` in pieces of `step`. */
function readAll(readerFor: ReaderFor, bytes: Uint8Array, step: number) {
  const pictures: Picture[] = [];
  const failures: string[] = [];
  const broken: string[] = [];
  const reader = readerFor({
    found: ({ picture }) => pictures.push(picture!),
    failed: (error) => failures.push(error.message),
    broken: (error) => broken.push(error.message),
  });
  for (let at = 0; at < bytes.length && broken.length === 0; at += step)
    reader.push(bytes.subarray(at, at + step));
  reader.end();
  return { pictures, failures, broken };
}
const STEPS = [1, 2, 3, 7, 1_000, 65_536, 10_000_000];
const pattern = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);

describe('raw video', () => {
  it.each(PIXEL_FORMATS)('of %s is cut into frames of its size, wherever the pipe cuts it', (format) => {
    const shape = { format, width: 5, height: 3 };
    const frames = [0, 1, 2].map((seed) => pattern(frameBytes(shape), seed));
    const stream = Buffer.concat([...frames, new Uint8Array(4)]);
    for (const step of STEPS) {
      const { pictures } = readAll(rawReader(shape), stream, step);
      expect(pictures).toEqual(frames.map((bytes) => ({ ...shape, bytes })));
    }
  });
});

describe('Y4M', () => {
  const stream = (header: string, size: number, frames = 3) =>
    Buffer.concat([
      Buffer.from(`${header}\n`),
      ...Array.from({ length: frames }, (_, i) => [
        Buffer.from(i % 2 ? 'FRAME\n' : 'FRAME Ip\n'),
        pattern(size, i),
      ]).flat(),
    ]);

  it.each([
    ['YUV4MPEG2 W4 H2 F30:1 Ip A1:1 C420jpeg XYSCSS=420JPEG', 'i420', 12],
    ['YUV4MPEG2 W5 H3', 'i420', 27],
    ['YUV4MPEG2 H2 W4 Cmono', 'gray8', 8],
  ] as const)('says its size in its header: %s', (header, format, size) => {
    for (const step of STEPS) {
      const { pictures, broken } = readAll(y4mReader(1_000), stream(header, size), step);
      expect(broken).toEqual([]);
      expect(pictures.map((p) => p.bytes)).toEqual([0, 1, 2].map((seed) => pattern(size, seed)));
      expect(pictures[0]).toMatchObject({ format });
    }
  });

  it.each([
    ['RIFF....', /begins with “RIFF/],
    ['YUV4MPEG2 W0 H2', /no size/],
    ['YUV4MPEG2 W99999 H2', /no size/],
    ['YUV4MPEG2 H2', /no size/],
    ['YUV4MPEG2 W4 H2 C444', /chroma C444 is not read/],
    ['YUV4MPEG2 W4 H2 C420p10', /chroma C420p10/],
    ['YUV4MPEG2 W1000 H1000', /longer than 1000 bytes/],
    [`YUV4MPEG2 ${'X'.repeat(5_000)}`, /header without an end/],
    ['YUV4MPEG2 W4 H2\nFRAMES', /“FRAMES” where FRAME should be/],
  ])('that cannot be read says why: %#', (header, message) => {
    for (const step of STEPS) {
      const { broken, pictures } = readAll(y4mReader(1_000), stream(header, 12), step);
      expect(broken).toEqual([expect.stringMatching(message)]);
      expect(pictures).toEqual([]);
    }
  });
});

const segment = (marker: number, body: Uint8Array) =>
  Buffer.concat([Uint8Array.of(0xff, marker, (body.length + 2) >> 8, (body.length + 2) & 0xff), body]);
const SOI = Uint8Array.of(0xff, 0xd8);
const EOI = Uint8Array.of(0xff, 0xd9);
/** Entropy-coded data with a stuffed FF, a restart marker, and fill bytes before the next marker. */
const scan = (seed: number) =>
  Buffer.concat([
    pattern(40, seed).map((b) => (b === 0xff ? 0 : b)),
    Uint8Array.of(0xff, 0, 5, 0xff, 0xd3, 9, 0xff, 0xff),
  ]);
const thumbnail = Buffer.concat([
  SOI,
  segment(0xdb, pattern(20, 1)),
  segment(0xda, pattern(6, 2)),
  Uint8Array.of(1, 2),
  EOI,
]);
const jpeg = (seed: number) =>
  Buffer.concat([
    SOI,
    segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0'), thumbnail, thumbnail])),
    segment(0xdb, pattern(64, seed)),
    segment(0xda, pattern(8, seed)),
    scan(seed),
    segment(0xda, pattern(8, seed)).subarray(1),
    scan(seed + 1).subarray(0, -2),
    EOI,
  ]);

describe('MJPEG', () => {
  it('is cut at the ends of its images, not of the thumbnails in them, and what stands between is skipped', () => {
    const images = [jpeg(1), jpeg(2), jpeg(3)];
    const between = Buffer.from('\r\n--boundary\r\nContent-Type: image/jpeg\r\n\r\n');
    const stream = Buffer.concat([between, images[0]!, images[1]!, between, images[2]!]);
    for (const step of STEPS) {
      const { pictures, failures } = readAll(jpegReader(10_000), stream, step);
      expect(failures).toEqual([]);
      expect(pictures.map(({ bytes }) => Buffer.from(bytes))).toEqual(images);
    }
  });

  it('takes an image that breaks off for one bad reading and goes on with the next', () => {
    const [first, second] = [jpeg(1), jpeg(2)];
    for (const cut of [3, 30, first.length - 40, first.length - 2])
      for (const step of STEPS) {
        const stream = Buffer.concat([first.subarray(0, cut), second, second]);
        const { pictures, failures } = readAll(jpegReader(10_000), stream, step);
        // Cut in a segment, the segment's length takes some of the next image with it.
        expect(pictures.length, `cut at ${cut}, step ${step}`).toBeGreaterThan(0);
        expect(Buffer.from(pictures.at(-1)!.bytes)).toEqual(second);
        expect(failures).toHaveLength(1);
      }
  });

  it('takes an image beyond the limit for one bad reading and holds no more of it', () => {
    const huge = Buffer.concat([SOI, segment(0xda, pattern(8, 1)), Buffer.alloc(5_000_000, 0x42), EOI]);
    const stream = Buffer.concat([huge, jpeg(1)]);
    for (const step of STEPS.slice(3)) {
      const { pictures, failures } = readAll(jpegReader(100_000), stream, step);
      expect(failures).toEqual(['MJPEG: an image longer than 100000 bytes']);
      expect(pictures.map(({ bytes }) => Buffer.from(bytes))).toEqual([jpeg(1)]);
    }
  });

  it('makes nothing of rubbish, and still finds the image behind it', () => {
    const seed = randomBytes(4).readUInt32LE();
    let state = seed;
    const rubbish = Buffer.from(
      Array.from({ length: 200_000 }, () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return [0xff, 0xd8, 0xd9, 0xda, 0, state >>> 24][(state >>> 16) % 6]!;
      }),
    );
    const { pictures } = readAll(
      jpegReader(1_000),
      Buffer.concat([rubbish, Buffer.alloc(70_000), jpeg(1), jpeg(1)]),
      4_096,
    );
    expect(Buffer.from(pictures.at(-1)!.bytes), `seed ${seed}`).toEqual(jpeg(1));
  });
});

const ffmpeg = (() => {
  try {
    return execFileSync('sh', ['-c', 'command -v ffmpeg'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
})();
if (!ffmpeg)
  process.stdout.write('Skipping frames of a real program: `ffmpeg` is missing. → apt-get install ffmpeg\n');

describe.runIf(ffmpeg)('frames of ffmpeg', () => {
  const source = (name: string, output: string, readerFor: ReaderFor) =>
    commandSource(
      { name, stallAfterMs: 60_000, waits: false },
      { clock: systemClock, entropy: systemEntropy },
      childCommand(
        `${ffmpeg} -v error -f lavfi -i testsrc=size=161x121:rate=25 -frames:v 12 ${output} -; sleep 60`,
      ),
      readerFor,
    );
  const frames = async (output: string, readerFor: ReaderFor) => {
    const heard = listening();
    const running = source('cam', output, readerFor);
    running.start(heard);
    await heard.until(() => heard.readings.length === 12);
    await running.stop();
    expect(heard.failures).toEqual([]);
    return heard.readings.map((reading) => reading.picture!);
  };

  it('are the same raw and as Y4M, of odd sizes too', async () => {
    const raw = await frames(
      '-pix_fmt yuv420p -f rawvideo',
      rawReader({ format: 'i420', width: 161, height: 121 }),
    );
    const y4m = await frames('-pix_fmt yuv420p -f yuv4mpegpipe', y4mReader(1 << 20));
    expect(y4m).toEqual(raw);
    expect(new Set(raw.map(({ bytes }) => Buffer.from(bytes).toString('base64'))).size).toBe(12);
  });

  it('are JPEGs that ffmpeg itself decodes again', async () => {
    const pictures = await frames('-q:v 2 -f mjpeg', jpegReader(1 << 20));
    expect(new Set(pictures.map(({ format }) => format))).toEqual(new Set(['jpeg']));
    const args = [
      '-v',
      'error',
      '-xerror',
      '-f',
      'mjpeg',
      '-i',
      '-',
      '-pix_fmt',
      'gray',
      '-f',
      'rawvideo',
      '-',
    ];
    const input = Buffer.concat(pictures.map(({ bytes }) => bytes));
    expect(execFileSync(ffmpeg!, args, { input })).toHaveLength(12 * 161 * 121);
  });

  it('that cannot be read end the command, which is started again', async () => {
    const heard = listening();
    const running = source('cam', '-pix_fmt yuv444p -f yuv4mpegpipe', y4mReader(1 << 20));
    running.start(heard);
    await heard.until(() => heard.failures.length >= 3);
    await running.stop();
    expect(heard.failures[0]!.message).toMatch(/chroma C444 is not read/);
    expect(heard.failures[1]!.message).toMatch(/ended by SIGTERM.*started again/);
    expect(heard.failures[2]!.message).toMatch(/chroma C444/);
  });
});
