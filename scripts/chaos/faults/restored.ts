/** The server dies and comes back from a copy of its database that was made earlier: it knows nothing of the time between. */
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Strike } from '../plan.ts';
import { fillerIn } from './disk-full.ts';
import type { Fault } from './fault.ts';

const FILES = ['', '-wal'];

export const restored: Fault<Extract<Strike, { kind: 'restored' }>> = {
  async begin(field) {
    const backup = join(field.folder, 'backup.db');
    await field.server.kill();
    copy(field.store, backup);
    field.server.start();
    return async () => {
      await field.server.kill();
      // On a full disk whoever restores makes room first.
      for (const gone of [`${field.store}-shm`, fillerIn(field.stateOf('server'))])
        rmSync(gone, { force: true });
      copy(backup, field.store);
      field.server.start();
    };
  },
};

/** What lies at `to` is no part of it. */
function copy(from: string, to: string): void {
  for (const suffix of FILES) {
    rmSync(to + suffix, { force: true });
    if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix);
  }
}
