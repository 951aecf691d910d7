import { readFileSync } from 'node:fs';

/** Running, and not a zombie that nobody has reaped yet. */
export const alive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};
