/**
 * Where a passphrase comes from, in this order: `--passphrase-file` (its first line), SKEIN_KEY_PASSPHRASE, the person
 * at the terminal. What is typed is not shown; at most {@link MAX_CHARACTERS}, and Ctrl-C ends the command.
 */
import { readFileSync, statSync } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { AskPin } from '../keys/token.ts';

const MAX_CHARACTERS = 1024;
const MAX_FILE_BYTES = 4096;

/** What of a terminal is needed; `process.stdin` and `process.stderr` are one. */
export interface Terminal {
  input: NodeJS.ReadableStream & { isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  output: { write(text: string): unknown };
}

export interface PassphraseSource {
  file?: string | undefined;
  env?: string | undefined;
  terminal?: Terminal | undefined;
}

export const processTerminal = (): Terminal => ({ input: process.stdin, output: process.stderr });

/** For keys that exist; the answer is remembered, so one passphrase opens several keys. */
export function passphraseAsker(source: PassphraseSource): AskPin {
  let known: string | undefined;
  return async ({ name }) => {
    known ??= given(source) ?? (await promptFor(source.terminal, `Passphrase of ${name}: `));
    return known;
  };
}

/** For keys that are made now: typed twice. Undefined: the keys are to lie unprotected. */
export async function newPassphrase(source: PassphraseSource): Promise<string | undefined> {
  const said = given(source);
  if (said !== undefined) return said;
  const first = await promptFor(source.terminal, 'Passphrase for the new keys (empty: none): ');
  if (!first) return undefined;
  if ((await promptFor(source.terminal, 'Again: ')) === first) return first;
  throw new SkeinError('PASSPHRASE_WRONG', 'the two passphrases are not the same', { fix: 'Run it again.' });
}

function given({ file, env }: PassphraseSource): string | undefined {
  if (file === undefined) return env || undefined;
  try {
    if (statSync(file).size > MAX_FILE_BYTES) throw new Error(`more than ${MAX_FILE_BYTES} bytes`);
    const [line = ''] = readFileSync(file, 'utf8').split(/\r?\n/);
    if (line !== '') return line;
    throw new Error('its first line is empty');
  } catch (cause) {
    throw new SkeinError('PASSPHRASE_NEEDED', `${file}: ${(cause as Error).message}`, {
      cause,
      fix: 'Give a file whose first line is the passphrase.',
    });
  }
}

/** undefined without a terminal. @throws SkeinError PASSPHRASE_NEEDED when the person gives up */
async function promptFor(terminal: Terminal | undefined, question: string): Promise<string | undefined> {
  const { input, output } = terminal ?? {};
  if (!input?.isTTY || !output) return undefined;
  output.write(question);
  input.setRawMode?.(true);
  input.resume();
  try {
    return await typed(input);
  } finally {
    input.setRawMode?.(false);
    input.pause();
    output.write('\n');
  }
}

function typed(input: Terminal['input']): Promise<string> {
  return new Promise((resolve, reject) => {
    let text: string[] = [];
    const end = (settle: () => void) => {
      input.off('data', onData).off('end', onEnd);
      settle();
    };
    const give = () => end(() => reject(new SkeinError('PASSPHRASE_NEEDED', 'no passphrase was given')));
    const onEnd = give;
    const onData = (data: Buffer | string) => {
      for (const character of data.toString()) {
        if (character === '\r' || character === '\n') return end(() => resolve(text.join('')));
        if (character === '\u0003' || character === '\u0004') return give();
        if (character === '\u007f' || character === '\b') text.pop();
        else if (character === '\u0015') text = [];
        else if (text.length < MAX_CHARACTERS && character >= ' ') text.push(character);
      }
    };
    input.on('data', onData).on('end', onEnd);
  });
}
