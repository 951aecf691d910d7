/** Answers go to standard output, tables for people and JSON for programs; everything else goes to standard error. */
import { describeError, SkeinError } from '@skein/protocol/errors.ts';

export type Output = 'table' | 'json';

/** 0 done · 1 failed · 2 wrong command or configuration · 3 not enrolled, or no agent runs. */
export const EXIT = { done: 0, failed: 1, usage: 2, absent: 3 } as const;

export function print(value: unknown, output: Output, text: () => string): void {
  process.stdout.write(`${output === 'json' ? JSON.stringify(value, null, 2) : text()}\n`);
}

export function exitCodeOf(thrown: unknown): number {
  if (!(thrown instanceof SkeinError)) return EXIT.failed;
  if (thrown.code === 'NOT_ENROLLED' || thrown.code === 'UNREACHABLE') return EXIT.absent;
  return thrown.blame === 'operator' ? EXIT.usage : EXIT.failed;
}

export function reportFailure(thrown: unknown): void {
  process.stderr.write(`${describeError(thrown)}\n`);
  process.exitCode = exitCodeOf(thrown);
}
