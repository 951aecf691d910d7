/** A package built into a folder of its own and unpacked beside it: the installed files, without installing them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { architectureOf } from './architectures.ts';
import { type BuiltPackage, buildPackage } from './build-package.ts';
import { command } from './command.ts';
import type { Compression } from './deb.ts';

export interface Unpacked {
  built: BuiltPackage;
  /** Where `usr` and `etc` lie. */
  root: string;
  remove(): void;
}

/** @throws SkeinError with what is missing to build it */
export async function buildAndUnpack(arch: string, compression: Compression): Promise<Unpacked> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-package-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    const built = await buildPackage({ arch: architectureOf(arch), out: folder, compression });
    const root = join(folder, 'root');
    await command('dpkg-deb', ['--extract', built.file, root]);
    return { built, root, remove };
  } catch (error) {
    remove();
    throw error;
  }
}
