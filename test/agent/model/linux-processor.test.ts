import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { int8Warning, readProcessor } from '@skein/agent/model/linux-processor.ts';
import { afterAll, describe, expect, it } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'skein-cpuinfo-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const fileWith = (text: string): string => {
  const path = join(directory, 'cpuinfo');
  writeFileSync(path, text);
  return path;
};

describe('the processor', () => {
  it('is asked for its int8 dot products', () => {
    const server = fileWith('processor : 0\nflags\t\t: fpu avx2 avx512_vnni avx_vnni\nbugs\t: none\n');
    expect(readProcessor(server, 'x64')).toEqual({ arch: 'x64', int8: ['avx512_vnni', 'avx_vnni'] });
    const board = fileWith('processor : 0\nFeatures\t: fp asimd asimddp i8mm\n');
    expect(readProcessor(board, 'arm64').int8).toEqual(['asimddp', 'i8mm']);
  });

  it('without them makes people careful with what was measured there', () => {
    const old = readProcessor(fileWith('flags : fpu avx2\n'), 'x64');
    expect(int8Warning(old)).toMatch(/no VNNI.*--reduce-range/);
    expect(int8Warning(readProcessor(join(directory, 'missing'), 'arm64'))).toMatch(/no int8 dot product/);
    expect(int8Warning({ arch: 'x64', int8: ['avx_vnni'] })).toBeUndefined();
  });
});
