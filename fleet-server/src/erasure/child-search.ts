/**
 * Searches the server's files from a process of its own. In this process it would cost the database its locks: when any
 * descriptor of a file is closed, POSIX drops all locks that the process has on it (https://sqlite.org/howtocorrupt.html,
 * section 2.2), and another program could then take the log of changes away.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Search } from './disk-search.ts';
import type { SearchJob } from './search-child.ts';

const PROGRAM = fileURLToPath(new URL('./search-child.ts', import.meta.url));

/** @throws SkeinError DISK_FAILED when it ended without an answer, also when `signal` ended it */
export const searchInChild = (job: SearchJob, signal: AbortSignal): Promise<Search> =>
  new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH ?? '', NODE_NO_WARNINGS: '1' };
    // The text goes by IPC: a command line is for all to see.
    const child = fork(PROGRAM, [], {
      env,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      signal,
    });
    let words = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      words = `${words}${chunk}`.slice(-2_000);
    });
    child.once('message', (search) => resolve(search as Search));
    child.once('error', (cause) => reject(failed(cause.message, cause)));
    child.once('exit', () => reject(failed(words.trim())));
    child.send(job, (error) => error && reject(failed(error.message, error)));
  });

const failed = (words: string, cause?: unknown): SkeinError =>
  new SkeinError('DISK_FAILED', `the files could not be searched: ${words || 'it was ended'}`, {
    cause,
    fix: 'It is tried again; check the server’s disk.',
  });
