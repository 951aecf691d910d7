/** The end of what a program said on standard error: at most three lines of 200 characters, to explain its exit. */
const MAX_KEPT = 2_048;
const LINES = 3;
const MAX_LINE = 200;

export interface LastWords {
  hear(chunk: Uint8Array): void;
  /** `why`, and what it said last. */
  after(why: string): string;
}

export function lastWords(): LastWords {
  const decoder = new TextDecoder('utf-8');
  let kept = '';
  return {
    hear(chunk) {
      kept = (kept + decoder.decode(chunk, { stream: true })).slice(-MAX_KEPT);
    },
    after(why) {
      const lines = kept
        .split(/[\r\n]+/)
        .map((line) => line.trim())
        .filter((line) => line !== '')
        .slice(-LINES);
      return lines.length === 0 ? why : `${why}: ${lines.map((line) => line.slice(0, MAX_LINE)).join(' | ')}`;
    },
  };
}
