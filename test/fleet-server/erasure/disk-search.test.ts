import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { searchFiles } from '@skein/fleet-server/erasure/disk-search.ts';
import { MIB } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-search-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('finds a text at every place of a file, also across the border of two chunks', async () => {
  const path = join(folder, 'a');
  for (const at of [0, MIB - 6, MIB - 1, MIB, 2 * MIB - 7]) {
    const bytes = Buffer.alloc(2 * MIB + 5, 'x');
    bytes.write('d-abcdefghij', at);
    writeFileSync(path, bytes);
    expect(await searchFiles([path], 'd-abcdefghij')).toEqual({
      ...{ files: 1, bytes: bytes.length, found: 1, places: [path] },
    });
  }
});

it('looks into folders, counts each place, and leaves out what is not there', async () => {
  mkdirSync(join(folder, 'ca', 'old'), { recursive: true });
  writeFileSync(join(folder, 'ca', 'old', 'x.pem'), 'd-one d-one');
  writeFileSync(join(folder, 'ca', 'y.pem'), '');
  const search = await searchFiles([join(folder, 'ca'), join(folder, 'none')], 'd-one');
  expect(search).toEqual({ files: 2, bytes: 11, found: 2, places: [join(folder, 'ca', 'old', 'x.pem')] });
});
