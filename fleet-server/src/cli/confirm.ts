/** Asks a person to type a word before what can not be undone; a program has to say `--yes`. */
import { createInterface } from 'node:readline/promises';
import { SkeinError } from '@skein/protocol/errors.ts';

/** `process.stdin` and `process.stderr` are one. */
export interface Person {
  input: NodeJS.ReadableStream & { isTTY?: boolean };
  output: NodeJS.WritableStream;
}

export const processPerson = (): Person => ({ input: process.stdin, output: process.stderr });

/** @throws SkeinError REQUEST_INVALID without a terminal, CONFLICT when something else is typed */
export async function confirmByTyping(
  word: string,
  question: string,
  person = processPerson(),
): Promise<void> {
  if (!person.input.isTTY)
    throw new SkeinError('REQUEST_INVALID', 'this can not be undone, and nobody is here to confirm it', {
      fix: 'Say --yes.',
    });
  const lines = createInterface(person);
  try {
    const typed = await Promise.race([lines.question(question), ended(lines)]);
    if (typed.trim() === word) return;
  } finally {
    lines.close();
  }
  throw new SkeinError('CONFLICT', 'not confirmed: nothing was changed', { fix: `Type ${word} to confirm.` });
}

/** Ctrl-C and Ctrl-D. */
const ended = (lines: ReturnType<typeof createInterface>): Promise<string> =>
  new Promise((resolve) => lines.once('close', () => resolve('')));
