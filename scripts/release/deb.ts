/**
 * Packs a tree into a .deb. The same tree gives the same bytes: owners are root, modes follow from the path, and every
 * time is the release's. The control folder is written here: control, conffiles, md5sums and the maintainer scripts.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Architecture } from './architectures.ts';
import { command } from './command.ts';
import { isProgram } from './lay-out.ts';

/** `fast`: gzip, for trying a package out; `small`: what is released. */
export type Compression = 'small' | 'fast';

const COMPRESSION: Readonly<Record<Compression, string[]>> = {
  small: ['-Zxz', '-z6'],
  fast: ['-Zgzip', '-z1'],
};

const SCRIPTS = ['postinst', 'prerm', 'postrm'];
const NO_DPKG = 'Build on Debian or Ubuntu, or install the package `dpkg`.';

export interface PackRequest {
  /** The repository, for its maintainer scripts. */
  root: string;
  tree: string;
  arch: Architecture;
  version: string;
  /** Seconds since 1970 that every file carries. */
  epoch: number;
  compression: Compression;
  /** The .deb to write. */
  file: string;
}

const under = (tree: string): { path: string; isFolder: boolean }[] =>
  readdirSync(tree, { recursive: true, withFileTypes: true })
    .map((entry) => ({
      path: join(entry.parentPath, entry.name).slice(tree.length + 1),
      isFolder: entry.isDirectory(),
    }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));

/** What `dpkg` estimates by: files rounded up to KiB, one KiB a folder. */
function installedKiB(tree: string): number {
  return under(tree)
    .map(({ path, isFolder }) => (isFolder ? 1 : Math.ceil(statSync(join(tree, path)).size / 1024)))
    .reduce((sum, each) => sum + each, 0);
}

/** Bytes of all files of a tree. */
export const installedBytes = (tree: string): number =>
  under(tree)
    .filter((entry) => !entry.isFolder)
    .reduce((sum, { path }) => sum + statSync(join(tree, path)).size, 0);

const md5sums = (tree: string): string =>
  under(tree)
    .filter(({ path, isFolder }) => !isFolder && !path.startsWith('etc/'))
    .map(
      ({ path }) =>
        `${createHash('md5')
          .update(readFileSync(join(tree, path)))
          .digest('hex')}  ${path}\n`,
    )
    .join('');

function writeControl({ root, tree, arch, version }: PackRequest): void {
  const data = join(root, 'agent', 'package');
  const fields: Record<string, string> = {
    VERSION: version,
    ARCHITECTURE: arch.deb,
    INSTALLED_SIZE: String(installedKiB(tree)),
  };
  const control = readFileSync(join(data, 'control'), 'utf8').replace(
    /@(\w+)@/g,
    (all, name) => fields[name] ?? all,
  );
  const sums = md5sums(tree);
  const folder = join(tree, 'DEBIAN');
  mkdirSync(folder);
  writeFileSync(join(folder, 'control'), control);
  writeFileSync(join(folder, 'md5sums'), sums);
  for (const name of ['conffiles', ...SCRIPTS]) copyFileSync(join(data, name), join(folder, name));
}

const isScript = (path: string): boolean => SCRIPTS.some((name) => path === `DEBIAN/${name}`);

/** Deepest first, so that a folder's time is set after its files'. */
function settle(tree: string, epoch: number): void {
  for (const { path, isFolder } of [...under(tree).reverse(), { path: '', isFolder: true }]) {
    const file = join(tree, path);
    chmodSync(file, isFolder || isProgram(path) || isScript(path) ? 0o755 : 0o644);
    lutimesSync(file, epoch, epoch);
  }
}

/** @throws SkeinError INTERNAL when dpkg-deb is missing or refuses */
export async function pack(request: PackRequest): Promise<void> {
  writeControl(request);
  settle(request.tree, request.epoch);
  const form = ['--root-owner-group', '--threads-max=2', ...COMPRESSION[request.compression]];
  await command('dpkg-deb', [...form, '--build', request.tree, request.file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(request.epoch) },
    fix: NO_DPKG,
  });
}
