import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIB } from '@skein/protocol/units.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { childReserve } from '../../../agent/src/update/child-reserve.ts';
import { openDiskSlots } from '../../../agent/src/update/disk-slots.ts';

const quiet = { info() {}, warn() {}, error() {} };
const sha256 = 'a'.repeat(64);
const other = 'b'.repeat(64);
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'skein-reserve-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const script = (text: string): string => {
  const path = join(directory, 'program');
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
};
/** What the file system took from the free space, as far as it can do that at all. */
const blocksOf = (name: string) => statSync(join(directory, name)).blocks * 512;

describe('disk space', () => {
  it('is set aside before the first byte, and the part stays as long as what it holds', async (test) => {
    const reserve = childReserve(quiet);
    const slots = await openDiskSlots({ directory, reserve });
    const writer = await slots.writer(sha256, 8 * MIB);
    if (!(await reserve(join(directory, `${sha256}.part`), 8 * MIB)))
      test.skip('this file system can not set space aside, or fallocate is missing');
    expect(blocksOf(`${sha256}.part`)).toBeGreaterThanOrEqual(8 * MIB);
    expect(await slots.partSize(sha256)).toBe(0);
    await writer.write(new Uint8Array(1000));
    await writer.abandon();
    expect(await slots.partSize(sha256)).toBe(1000);
  });

  it('that is set aside already is not asked for again when a download goes on', async (test) => {
    const reserve = childReserve(quiet);
    if (!(await reserve(script('exit 0'), 2 * MIB))) test.skip('no fallocate here');
    let free = 40 * MIB;
    const slots = await openDiskSlots({ directory, reserve, freeBytes: async () => free });
    await (await slots.writer(sha256, 20 * MIB)).abandon();
    // All but the reserve has gone elsewhere, and yet the download goes on.
    free = 16 * MIB;
    await (await slots.writer(sha256, 20 * MIB)).abandon();
    await expect(slots.writer(other, 20 * MIB)).rejects.toMatchObject({ code: 'DISK_FULL' });
  });

  it('that the disk does not have ends the download before it begins', async () => {
    const reserve = childReserve(
      quiet,
      script('echo "fallocate failed: No space left on device" >&2; exit 1'),
    );
    const slots = await openDiskSlots({ directory, reserve });
    await expect(slots.writer(sha256, 8 * MIB)).rejects.toMatchObject({
      code: 'DISK_FULL',
      fix: expect.stringMatching(/Free space/),
    });
    expect(await slots.partSize(sha256)).toBe(0);
  });

  it('is counted where it can not be set aside: two downloads are not promised the same bytes', async () => {
    const told: unknown[] = [];
    const log = { ...quiet, info: (...words: unknown[]) => told.push(words) };
    const reserve = childReserve(log, join(directory, 'absent'));
    const slots = await openDiskSlots({ directory, reserve, freeBytes: async () => 40 * MIB });
    const first = await slots.writer(sha256, 20 * MIB);
    await expect(slots.writer(other, 20 * MIB)).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(/20971520 promised to other downloads/),
    });
    await first.abandon();
    await (await slots.writer(other, 20 * MIB)).abandon();
    // Said once, not at each download.
    expect(told).toHaveLength(1);
  });
});
