/** Reads data files for the model tools; `.gz` is unpacked. A plain list of numbers on the command line is one row. */
import { readFile, stat } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { SkeinError } from '@skein/protocol/errors.ts';
import { readSamples, type SampleTable } from './samples.ts';

const MAX_BYTES = 256 * 1024 * 1024;
const NUMBERS = /^[-+.\dNa][-+.\deENa]*([,\s]+[-+.\dNa][-+.\deENa]*)*$/;

/** @throws SkeinError SOURCE_INVALID */
export async function readSampleFile(path: string, width: number): Promise<SampleTable> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) {
    throw new SkeinError('SOURCE_INVALID', `${path} does not exist`, {
      fix: 'Check the path of the data file.',
    });
  }
  if (found.size > MAX_BYTES) throw new SkeinError('SOURCE_INVALID', `${path} is larger than 256 MiB`);
  const raw = await readFile(path);
  if (!path.endsWith('.gz')) return readSamples(path, new Uint8Array(raw), width);
  try {
    return readSamples(
      path.slice(0, -3),
      new Uint8Array(gunzipSync(raw, { maxOutputLength: MAX_BYTES })),
      width,
    );
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('SOURCE_INVALID', `${path} can not be unpacked`, { cause });
  }
}

/** One argument: numbers (`1,2.5,-3`) or a file. @throws SkeinError SOURCE_INVALID */
export async function readInput(argument: string, width: number): Promise<SampleTable> {
  if (!NUMBERS.test(argument.trim())) return readSampleFile(argument, width);
  const row = Float64Array.from(argument.trim().split(/[,\s]+/), Number);
  return { columns: undefined, rows: [row], truth: undefined };
}
