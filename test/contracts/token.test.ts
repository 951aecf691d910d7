import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKeyFolder } from '@skein/fleet-server/cli/key-files.ts';
import { afterAll } from 'vitest';
import { tokenContract } from './token.contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-token-'));
afterAll(() => rmSync(folder, { recursive: true }));
let places = 0;

tokenContract('a folder of key files', () => {
  const path = join(folder, String(places++));
  return { open: () => openKeyFolder(path) };
});
