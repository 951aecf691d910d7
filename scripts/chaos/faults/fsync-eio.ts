/** A disk whose every fsync fails: strace, attached to the living process, answers EIO in the kernel's place. */
import { spawn } from 'node:child_process';
import type { Strike } from '../plan.ts';
import { type Fault, lifeOf } from './fault.ts';

const LETS_GO_WITHIN_MS = 2_000;
const CALLS = 'fsync,fdatasync';
const INJECT = ['-e', `trace=${CALLS}`, '-e', `inject=${CALLS}:error=EIO`];

export const fsyncEio: Fault<Extract<Strike, { kind: 'fsync-eio' }>> = {
  async begin(field, { who }) {
    const { pid } = lifeOf(field, who);
    if (pid === undefined) return undefined;
    const child = spawn('strace', ['-f', '-qq', '-o', '/dev/null', ...INJECT, '-p', String(pid)], {
      stdio: 'ignore',
    });
    const over = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    return async () => {
      child.kill('SIGTERM');
      // Where the process was killed meanwhile it may wait for ever, and what is left of the process with it.
      const late = setTimeout(() => child.kill('SIGKILL'), LETS_GO_WITHIN_MS);
      await over;
      clearTimeout(late);
    };
  },
};
