/** Runs a source's command through the shell, in a process group of its own so that stopping it stops its children. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { LaunchCommand } from './command-source.ts';
import { lineSplitter } from './lines.ts';
import { MAX_LINE_CHARACTERS } from './recordings.ts';

const KILL_AFTER_MS = 1_000;

/** @param command for `/bin/sh -c`. Its standard error passes through to the agent's log. */
export const childCommand =
  (command: string): LaunchCommand =>
  (handlers) => {
    const child = spawn('/bin/sh', ['-c', command], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
    const splitter = lineSplitter(MAX_LINE_CHARACTERS, handlers.failed);
    let over = false;
    const gone = new Promise<void>((resolve) => {
      const exited = (why: string) => {
        if (over) return;
        over = true;
        handlers.exited(why);
        resolve();
      };
      child.once('error', (error) => exited(`the command did not start: ${error.message}`));
      child.once('close', (code, signal) => {
        for (const line of splitter.end()) handlers.line(line);
        exited(signal ? `the command was ended by ${signal}` : `the command ended with exit code ${code}`);
      });
    });
    child.stdout.on('data', (chunk: Buffer) => {
      for (const line of splitter.push(chunk)) handlers.line(line);
    });
    return { stop: () => stopGroup(child, gone) };
  };

async function stopGroup(child: ChildProcess, gone: Promise<void>): Promise<void> {
  signalGroup(child, 'SIGTERM');
  const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_AFTER_MS);
  await gone;
  clearTimeout(timer);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}
