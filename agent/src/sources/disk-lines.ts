/** Lines of a file (gunzipped when its name ends in `.gz`) or of standard input, as they are asked for. */
import { createReadStream } from 'node:fs';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { SkeinError } from '@skein/protocol/errors.ts';
import { lineSplitter } from './lines.ts';
import { MAX_LINE_CHARACTERS } from './recordings.ts';

async function* linesOf(stream: Readable): AsyncIterable<string> {
  let wrong: SkeinError | undefined;
  const splitter = lineSplitter(MAX_LINE_CHARACTERS, (error) => {
    wrong = error;
  });
  for await (const chunk of stream) {
    yield* splitter.push(chunk as Uint8Array);
    if (wrong) throw wrong;
  }
  yield* splitter.end();
}

/** @throws SkeinError SOURCE_FAILED when the file cannot be read, SOURCE_INVALID on an endless line. */
export async function* fileLines(path: string): AsyncIterable<string> {
  const file = createReadStream(path);
  const stream = path.endsWith('.gz') ? pipeline(file, createGunzip(), () => {}) : file;
  try {
    yield* linesOf(stream);
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    throw new SkeinError('SOURCE_FAILED', `cannot read ${path}: ${(cause as Error).message}`, {
      cause,
      fix: 'Check the source’s `path` and that the agent’s user may read it.',
    });
  } finally {
    file.destroy();
  }
}

let standardInput: AsyncIterator<string> | undefined;
let pending: Promise<IteratorResult<string>> | undefined;

/** This process has one standard input: a reader that was stopped leaves the next line to the one after it. */
export const stdinLines = (): AsyncIterable<string> => ({
  [Symbol.asyncIterator]: () => ({
    next() {
      standardInput ??= linesOf(process.stdin)[Symbol.asyncIterator]();
      pending ??= standardInput.next().finally(() => {
        pending = undefined;
      });
      return pending;
    },
  }),
});
