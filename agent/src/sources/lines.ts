/** Bytes to lines. UTF-8, `\n`, bounded: a longer line is reported once, cut out, and reading goes on behind it. */
import { SkeinError } from '@skein/protocol/errors.ts';

export interface LineSplitter {
  /** Lines that `chunk` completed. */
  push(chunk: Uint8Array): string[];
  /** What is left when the stream ends without a newline. */
  end(): string[];
}

/** @param tooLong called once for each line that was cut out. */
export function lineSplitter(maxCharacters: number, tooLong: (error: SkeinError) => void): LineSplitter {
  const decoder = new TextDecoder('utf-8');
  let rest = '';
  let skipping = false;

  const report = (): void =>
    tooLong(
      new SkeinError('SOURCE_INVALID', `a line is longer than ${maxCharacters} characters; it was left out`, {
        fix: 'Print one JSON object per line and end each with a newline.',
      }),
    );
  const whole = (line: string): boolean => {
    const behind = skipping;
    skipping = false;
    if (!behind && line.length > maxCharacters) report();
    return !behind && line.length <= maxCharacters;
  };
  const take = (text: string): string[] => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    const kept = lines.filter(whole);
    if (!skipping && rest.length > maxCharacters) {
      skipping = true;
      report();
    }
    if (skipping) rest = '';
    return kept;
  };

  return {
    push: (chunk) => take(decoder.decode(chunk, { stream: true })),
    end: () => (rest && !skipping ? take(`${decoder.decode()}\n`) : []),
  };
}
