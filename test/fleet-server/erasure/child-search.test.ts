import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { searchInChild } from '@skein/fleet-server/erasure/child-search.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-search-'));
  writeFileSync(join(folder, 'a'), 'here: d-one');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('answers from another process, or says why not', async () => {
  const job = { paths: [folder], text: 'd-one' };
  expect(await searchInChild(job, new AbortController().signal)).toMatchObject({ files: 1, found: 1 });
  const ended = searchInChild(job, AbortSignal.abort());
  await expect(ended).rejects.toMatchObject({ code: 'DISK_FAILED' });
  const wrong = searchInChild({ ...job, text: 5 as never }, new AbortController().signal);
  await expect(wrong).rejects.toMatchObject({
    code: 'DISK_FAILED',
    message: expect.stringContaining('number'),
  });
});
