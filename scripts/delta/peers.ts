/** Debian's general tools for patches, each at the best of its settings. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isOnPath } from '../apt-tools.ts';

const execute = promisify(execFile);

const PEERS: { tool: string; settings: string[][] }[] = [
  {
    tool: 'zstd',
    settings: [
      ['-q', '-f', '--ultra', '-22', '--long=27', '--patch-from=OLD', 'NEW', '-o', 'OUT'],
      ['-q', '-f', '-19', '--single-thread', '--long=27', '--patch-from=OLD', 'NEW', '-o', 'OUT'],
    ],
  },
  {
    tool: 'xdelta3',
    settings: ['lzma', 'djw', 'none'].map((second) => [
      '-9',
      '-S',
      second,
      '-e',
      '-f',
      '-s',
      'OLD',
      'NEW',
      'OUT',
    ]),
  },
  { tool: 'bsdiff', settings: [['OLD', 'NEW', 'OUT']] },
];

export const missingPeers = (): string[] => PEERS.map(({ tool }) => tool).filter((tool) => !isOnPath(tool));

/** Bytes of each tool's smallest patch. */
export async function peerSizes(old: Uint8Array, now: Uint8Array): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-peers-'));
  const files: Record<string, string> = {};
  for (const name of ['OLD', 'NEW', 'OUT']) files[name] = join(folder, name);
  try {
    writeFileSync(files.OLD!, old);
    writeFileSync(files.NEW!, now);
    const sizes: Record<string, number> = {};
    for (const { tool, settings } of PEERS) {
      if (!isOnPath(tool)) continue;
      for (const setting of settings) {
        const args = setting.map((arg) => arg.replace(/OLD|NEW|OUT/, (name) => files[name]!));
        await execute(tool, args);
        sizes[tool] = Math.min(sizes[tool] ?? Infinity, statSync(files.OUT!).size);
      }
    }
    return sizes;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
