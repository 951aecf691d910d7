/**
 * Runs a source's command through the shell, in a process group of its own (child-group.ts). The last lines of its
 * standard error are kept to say why it ended; the rest goes nowhere, so a chatty program cannot fill the log.
 */
import { spawn } from 'node:child_process';
import { stopGroup } from '../child-group.ts';
import { lastWords } from '../last-words.ts';
import type { LaunchCommand } from './command-source.ts';

/** @param command for `/bin/sh -c`. */
export const childCommand =
  (command: string): LaunchCommand =>
  (handlers) => {
    const child = spawn('/bin/sh', ['-c', command], { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const words = lastWords();
    let over = false;
    let finish = (): void => {};
    const gone = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const exited = (why: string): void => {
      if (over) return;
      over = true;
      handlers.exited(words.after(why));
      finish();
    };
    child.once('error', (error) => exited(`the command did not start: ${error.message}`));
    child.once('close', (code, signal) =>
      exited(signal ? `the command was ended by ${signal}` : `the command ended with exit code ${code}`),
    );
    child.stdout.on('data', (chunk: Buffer) => handlers.data(chunk));
    child.stderr.on('data', (chunk: Buffer) => words.hear(chunk));
    return {
      pause: () => child.stdout.pause(),
      resume: () => child.stdout.resume(),
      // A group that is gone may have given its number to another.
      stop: async () => {
        if (!over) await stopGroup(child, gone);
      },
    };
  };
