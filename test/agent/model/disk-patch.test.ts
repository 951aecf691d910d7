import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diffFiles, patchFile } from '@skein/agent/model/disk-patch.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tuned, twoLayers } from '../../protocol/delta/pairs.ts';

let dir: string;
const at = (name: string) => join(dir, name);
const paths = { old: 'old', patch: 'patch', now: 'made' };
const patch = (change: Partial<typeof paths> = {}, maxBytes = 10_000_000) => {
  const { old, patch: from, now } = { ...paths, ...change };
  return patchFile({ old: at(old), patch: at(from), now: at(now) }, maxBytes, () => {});
};
const refused = (code: string) => expect.objectContaining({ code });

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'skein-patch-'));
  const weights = tuned(32 * 4000, 0.01, 1);
  const last = tuned(32 * 320, 0.01, 2);
  writeFileSync(at('old'), twoLayers(weights.was, last.was));
  writeFileSync(at('new'), twoLayers(weights.now, last.now));
  await diffFiles({ old: at('old'), now: at('new'), patch: at('patch') }, () => {});
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('patches between files', () => {
  it('make the new file, larger than what is held at once, and tell its hash', async () => {
    const facts = await patch();
    expect(readFileSync(at('made')).equals(readFileSync(at('new')))).toBe(true);
    expect(facts).toMatchObject({ form: 'delta', newBytes: readFileSync(at('new')).length });
    expect(facts.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('leave nothing and replace nothing when they are refused', async () => {
    writeFileSync(at('made'), 'what was there');
    await expect(patch({ old: 'new' })).rejects.toThrow(refused('PATCH_WRONG_BASE'));
    await expect(patch({}, 1000)).rejects.toThrow(/at most 1000/);
    await expect(patch({ old: 'none' })).rejects.toThrow(refused('NOT_FOUND'));
    await expect(patch({ old: '.' })).rejects.toThrow(refused('NOT_FOUND'));
    await expect(patch({ now: 'no/folder' })).rejects.toThrow(refused('DISK_FAILED'));
    const bytes = readFileSync(at('patch'));
    bytes[bytes.length - 10]! ^= 1;
    writeFileSync(at('patch'), bytes);
    await expect(patch()).rejects.toThrow(refused('BLOB_MISMATCH'));
    truncateSync(at('patch'), 2000);
    await expect(patch()).rejects.toThrow(refused('PATCH_INVALID'));
    expect(readFileSync(at('made'), 'utf8')).toBe('what was there');
    expect(readdirSync(dir).sort()).toEqual(['made', 'new', 'old', 'patch']);
  });
});
