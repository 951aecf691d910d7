/** Whatever is free on the small disk of one party is taken, and given back later. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Strike } from '../plan.ts';
import type { Fault } from './fault.ts';

const PIECE = 64 * 1024;

/** To the last byte. */
export function fill(path: string): void {
  const file = openSync(path, 'w');
  for (let size = PIECE; size >= 1; ) {
    try {
      if (writeSync(file, Buffer.alloc(size, 1)) < size) size = Math.floor(size / 2);
    } catch {
      size = Math.floor(size / 2);
    }
  }
  closeSync(file);
}

/** What takes the room. */
export const fillerIn = (stateDir: string): string => join(stateDir, 'somebody-elses-file');

export const diskFull: Fault<Extract<Strike, { kind: 'disk-full' }>> = {
  async begin(field, { who }) {
    const path = fillerIn(field.stateOf(who));
    fill(path);
    return () => rmSync(path, { force: true });
  },
};
