/**
 * A key that a program prints: tpm2_unseal, `clevis decrypt`, the tool of an HSM. No shell; the program has `withinMs` and
 * may print no more than a key. What it says on standard error is told when it fails, what it printed never is.
 */
import { spawn } from 'node:child_process';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { stopGroup } from '../child-group.ts';
import { lastWords } from '../last-words.ts';
import { keyBytes, MAX_KEY_TEXT } from './key-bytes.ts';
import { type KeyPort, keyNeeded } from './key-port.ts';

const WITHIN_MS: Millis = 30 * SECOND;
const FIX = 'Run the command of `atRest.command` by hand as the agent’s user: it must print the key and end.';

export function childKey(command: readonly string[], withinMs = WITHIN_MS): KeyPort {
  const from = `command ${command[0]}`;
  return { from, read: async () => keyBytes(await printed(command, from, withinMs), from) };
}

function printed(
  [program, ...words]: readonly string[],
  from: string,
  withinMs: Millis,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, words, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = lastWords();
    const pieces: Buffer[] = [];
    let [length, over] = [0, false];
    let gone = (): void => {};
    const ended = new Promise<void>((done) => {
      gone = done;
    });
    let refused = false;
    const refuse = (why: string): void => {
      if (refused) return;
      refused = true;
      clearTimeout(limit);
      reject(keyNeeded(`${from} gives no key: ${said.after(why)}`, FIX));
      if (!over) void stopGroup(child, ended);
    };
    const limit = setTimeout(() => refuse(`no end within ${withinMs} ms`), withinMs);
    child.stderr.on('data', (piece: Buffer) => said.hear(piece));
    child.stdout.on('data', (piece: Buffer) => {
      length += piece.length;
      if (length > MAX_KEY_TEXT) refuse(`it printed more than ${MAX_KEY_TEXT} bytes`);
      else pieces.push(piece);
    });
    child.once('error', (error) => {
      over = true;
      refuse(`it did not start: ${error.message}`);
    });
    child.once('close', (code, signal) => {
      over = true;
      gone();
      clearTimeout(limit);
      if (code === 0) resolve(Buffer.concat(pieces));
      else refuse(signal ? `it was ended by ${signal}` : `it ended with exit code ${code}`);
    });
  });
}
