import { windowedFile } from '@skein/agent/update/windowed-file.ts';
import { describe, expect, it } from 'vitest';

const KIB = 1024;
const content = Uint8Array.from({ length: 1024 * KIB }, (_, i) => (i * 7) % 251);

function counted(most = Number.POSITIVE_INFINITY) {
  const reads: number[] = [];
  const file = windowedFile(content.length, async (offset, buffer) => {
    const got = Math.min(buffer.length, most, content.length - offset);
    buffer.set(content.subarray(offset, offset + got));
    reads.push(got);
    return got;
  });
  return { file, reads };
}

describe('a file behind a window', () => {
  it('gives the bytes of any place, however few come at once', async () => {
    const { file } = counted(1000);
    for (const [offset, length] of [
      [0, 10],
      [500_000, 16_384],
      [516_384, 16_384],
      [3, 5],
      [content.length - 7, 7],
    ] as const)
      expect(await file.read(offset, length)).toEqual(content.subarray(offset, offset + length));
  });

  it('is read in few large pieces from front to back, and byte by byte by whoever jumps about', async () => {
    const walked = counted();
    for (let at = 0; at < content.length; at += 16 * KIB) await walked.file.read(at, 16 * KIB);
    expect(walked.reads.length).toBeLessThan(10);
    expect(walked.reads.reduce((sum, got) => sum + got, 0)).toBe(content.length);
    const jumped = counted();
    for (let i = 0; i < 1000; i++) await jumped.file.read((i * 104_729) % (content.length - 1), 1 + (i % 2));
    expect(jumped.reads.reduce((sum, got) => sum + got, 0)).toBeLessThan(4000);
  });

  it('says when the file became shorter', async () => {
    const file = windowedFile(100, async () => 0);
    await expect(file.read(0, 10)).rejects.toMatchObject({ code: 'DISK_FAILED' });
  });
});
