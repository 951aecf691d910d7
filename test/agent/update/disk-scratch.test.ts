import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openScratch } from '@skein/agent/update/disk-scratch.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let stateDir: string;
const said: unknown[] = [];
const log = { info: (_: string, data?: unknown) => void said.push(data), warn() {}, error() {} };
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'skein-scratch-'));
  said.length = 0;
});
afterEach(() => rmSync(stateDir, { recursive: true }));

describe('the place where candidates lie', () => {
  it('is none when nothing is to be measured', async () => {
    expect(await openScratch('off', stateDir, log)).toBeUndefined();
  });

  it('is beside the models when told so, and goes away when it is closed', async () => {
    const scratch = (await openScratch('disk', stateDir, log))!;
    expect(existsSync(join(stateDir, 'candidates'))).toBe(true);
    scratch.close();
    expect(existsSync(join(stateDir, 'candidates'))).toBe(false);
  });

  it.skipIf(!existsSync('/dev/shm'))(
    'lies in memory, is this state directory’s own, and leaves nothing',
    async () => {
      const scratch = await openScratch('memory', stateDir, log);
      if (!scratch) return expect(said).toHaveLength(1);
      const path = scratch.pathOf('a'.repeat(64));
      expect(path.startsWith(stateDir)).toBe(false);
      scratch.close();
      expect(existsSync(join(path, '..'))).toBe(false);
    },
  );
});
