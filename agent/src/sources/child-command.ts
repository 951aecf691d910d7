/**
 * Runs a source's command through the shell, in a process group of its own so that stopping it stops its children: asked
 * first (also when it was suspended), killed after {@link KILL_AFTER_MS}, and not waited for beyond {@link GONE_AFTER_MS}
 * when something that left the group holds its output open. The last lines of its standard error are kept to say why it
 * ended; the rest goes nowhere, so a chatty program cannot fill the log.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Millis } from '@skein/protocol/units.ts';
import type { LaunchCommand } from './command-source.ts';
import { lastWords } from './last-words.ts';

const KILL_AFTER_MS: Millis = 400;
const GONE_AFTER_MS: Millis = 700;

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

async function stopGroup(child: ChildProcess, gone: Promise<void>): Promise<void> {
  signalGroup(child, 'SIGTERM');
  signalGroup(child, 'SIGCONT');
  child.stdout?.resume();
  const killing = setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_AFTER_MS);
  const letting = setTimeout(() => {
    child.stdout?.destroy();
    child.stderr?.destroy();
  }, GONE_AFTER_MS);
  await gone;
  clearTimeout(killing);
  clearTimeout(letting);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}
