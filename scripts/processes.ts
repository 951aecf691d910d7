/** Child processes of the project's commands: start, wait for the line that says ready, restart, stop in time. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { SkeinError } from '@skein/protocol/errors.ts';

export interface Daemon {
  readonly name: string;
  readonly child: ChildProcess;
  /** The parsed JSON line with `"ready": true` that the process printed. */
  readonly ready: Record<string, unknown>;
  /** How it ended. */
  readonly exited: Promise<Ending>;
}

/** One of the two is null. */
export interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** For people: `exit code 1` or `SIGKILL`. */
export const describeEnding = ({ code, signal }: Ending): string => signal ?? `exit code ${code}`;

export interface DaemonOptions {
  name: string;
  /** Default: this Node, and `args` begin with its script. */
  program?: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  logFile: string;
  /** No IPC channel, as a service manager starts it: Node loads twenty modules for one. It then outlives this process. */
  withoutLifeLine?: true;
  readyWithinMs: number;
}

/** Last lines of what the process said, for the error when it dies before it is ready. */
const keepLast = (lines: string[], line: string): void => {
  lines.push(line);
  if (lines.length > 12) lines.shift();
};

/** A process that may not be ready yet. */
export interface Begun {
  readonly child: ChildProcess;
  readonly exited: Promise<Ending>;
  /** @throws SkeinError INTERNAL when it exits or stays silent too long, with its last words. */
  readonly ready: Promise<Daemon>;
}

/**
 * Starts a Node process. The IPC channel is its life line: a daemon that loses it (because this process was killed)
 * stops by itself.
 */
export function beginDaemon(options: DaemonOptions): Begun {
  const { program = process.execPath, args, env, name, withoutLifeLine } = options;
  const flags = program === process.execPath ? ['--disable-warning=ExperimentalWarning'] : [];
  const lifeLine = withoutLifeLine ? [] : (['ipc'] as const);
  const child = spawn(program, [...flags, ...args], { env, stdio: ['ignore', 'pipe', 'pipe', ...lifeLine] });
  const log = createWriteStream(options.logFile, { flags: 'a' });
  child.stderr?.pipe(log);
  const last: string[] = [];
  createInterface({ input: child.stderr! }).on('line', (line) => keepLast(last, line));
  const exited = new Promise<Ending>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  const said = new Promise<Record<string, unknown>>((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const message = readyLine(line);
      if (message) resolve(message);
    });
  });
  const failed = exited.then((ending) => {
    const words = `${name} stopped (${describeEnding(ending)}) before it was ready:\n${last.join('\n')}`;
    throw new SkeinError('INTERNAL', words);
  });
  const ready = within(options, child, Promise.race([said, failed]));
  return { child, exited, ready: ready.then((words) => ({ name, child, ready: words, exited })) };
}

/** Resolves when it printed its ready line. @throws SkeinError as {@link Begun.ready} */
export const startDaemon = (options: DaemonOptions): Promise<Daemon> => beginDaemon(options).ready;

function readyLine(line: string): Record<string, unknown> | undefined {
  try {
    const message = JSON.parse(line) as Record<string, unknown>;
    return message.ready === true ? message : undefined;
  } catch {
    return undefined;
  }
}

async function within<T>(options: DaemonOptions, child: ChildProcess, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(
        new SkeinError(
          'INTERNAL',
          `${options.name} was not ready within ${options.readyWithinMs} ms; see ${options.logFile}`,
        ),
      );
    }, options.readyWithinMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** SIGTERM, then SIGKILL after `graceMs`. Resolves with the exit code (-1 when it had to be killed). */
export async function stopDaemon(daemon: Daemon, graceMs = 4_000): Promise<number> {
  if (daemon.child.exitCode !== null || daemon.child.signalCode !== null) return daemon.child.exitCode ?? -1;
  const timer = setTimeout(() => daemon.child.kill('SIGKILL'), graceMs);
  daemon.child.kill('SIGTERM');
  const { code } = await daemon.exited;
  clearTimeout(timer);
  return code ?? -1;
}

/** Runs a Node program to its end and returns its standard output. @throws SkeinError INTERNAL with its last words */
export function runToEnd(args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(out);
      else reject(new SkeinError('INTERNAL', `${args.join(' ')} failed (${code}):\n${err.trim()}`));
    });
  });
}
