/** A disk whose every fsync fails: strace, attached to the living process, answers EIO in the kernel's place. */
import { spawn } from 'node:child_process';
import type { Strike } from '../plan.ts';
import { type Fault, lifeOf } from './fault.ts';

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
      await over;
    };
  },
};
