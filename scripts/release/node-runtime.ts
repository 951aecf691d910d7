/** The private Node of a package: the pinned binary for its architecture, without symbols when a tool can drop them. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isOnPath } from '../apt-tools.ts';
import type { Architecture } from './architectures.ts';
import { command } from './command.ts';
import { fetchTarball, lockedPackage } from './npm-package.ts';

export interface Runtime {
  version: string;
  /** Node's own licence with those of its parts. */
  licence: string;
  /** The program that stripped it; undefined: none can, the binary keeps its symbols. */
  strippedWith: string | undefined;
}

/** npm's copy of the package when this machine has one, else the tarball unpacked into `scratch`. */
async function unpacked(root: string, arch: Architecture, cache: string, scratch: string): Promise<string> {
  const { version } = lockedPackage(root, arch.runtime);
  const installed = join(root, 'node_modules', arch.runtime);
  const description = join(installed, 'package.json');
  if (existsSync(description)) {
    const found = JSON.parse(readFileSync(description, 'utf8')) as { version: string };
    if (found.version === version) return installed;
  }
  const tarball = await fetchTarball(root, arch.runtime, cache);
  await command('tar', ['-xzf', tarball, '-C', scratch, 'package/bin/node', 'package/LICENSE']);
  return join(scratch, 'package');
}

/** The architecture's own strip and llvm-strip work from any machine; plain strip only on its own kind. */
function stripper(arch: Architecture): string | undefined {
  const native = arch.node === process.arch ? ['strip'] : [];
  return [arch.gnuStrip, 'llvm-strip', ...native].find(isOnPath);
}

/** Writes the binary to `target`. Downloads are kept in `cache`. */
export async function placeRuntime(
  root: string,
  arch: Architecture,
  cache: string,
  target: string,
): Promise<Runtime> {
  const scratch = mkdtempSync(join(tmpdir(), 'skein-node-'));
  try {
    const from = await unpacked(root, arch, cache, scratch);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(from, 'bin', 'node'), target);
    const strippedWith = stripper(arch);
    if (strippedWith) await command(strippedWith, [target]);
    const licence = readFileSync(join(from, 'LICENSE'), 'utf8');
    return { version: lockedPackage(root, arch.runtime).version, licence, strippedWith };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
