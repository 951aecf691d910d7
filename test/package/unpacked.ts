/** What a test asks about a package and its files. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, SkeinError } from '@skein/protocol/errors.ts';
import { isOnPath } from '../../scripts/apt-tools.ts';
import { ARCHITECTURES } from '../../scripts/release/architectures.ts';
import { CACHE, ROOT } from '../../scripts/release/build-package.ts';
import { fetchTarball } from '../../scripts/release/npm-package.ts';

/** Why no package can be built here, with the way to change it; undefined when it can. */
export async function whyNoPackage(): Promise<string | undefined> {
  if (!isOnPath('dpkg-deb')) return 'dpkg-deb is missing: packages are built on Debian or Ubuntu';
  try {
    for (const { node, runtime } of ARCHITECTURES)
      if (node !== process.arch) await fetchTarball(ROOT, runtime, CACHE);
    return undefined;
  } catch (error) {
    if (error instanceof SkeinError && error.code === 'UNREACHABLE') return describeError(error);
    throw error;
  }
}

export interface Listed {
  /** As `ls -l` shows it: `-rwxr-xr-x`. */
  mode: string;
  owner: string;
  /** No leading slash. */
  path: string;
}

/** What the archive itself says, before any unpacking by whoever runs the tests. */
export function list(deb: string): Listed[] {
  return execFileSync('dpkg-deb', ['--contents', deb], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => {
      const [mode, owner, , , , path] = line.split(/\s+/) as [string, string, string, string, string, string];
      return { mode, owner, path: path.replace(/^\.\//, '') };
    });
}

/** A field of the control file. */
export const field = (deb: string, name: string): string =>
  execFileSync('dpkg-deb', ['--field', deb, name], { encoding: 'utf8' }).trim();

const ELF = Buffer.from('\x7fELF', 'latin1');

export interface MachineCode {
  path: string;
  /** `e_machine`, System V ABI. */
  machine: number;
  /** Minor version of the newest GLIBC_2.x symbol it asks for. */
  glibc: number;
}

/** Every ELF file under `root`. */
export function machineCode(root: string): MachineCode[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => ({ path: file.slice(root.length + 1), bytes: readFileSync(file) }))
    .filter(({ bytes }) => bytes.subarray(0, 4).equals(ELF))
    .map(({ path, bytes }) => ({ path, machine: bytes.readUInt16LE(18), glibc: newestGlibc(bytes) }));
}

function newestGlibc(bytes: Buffer): number {
  let newest = 0;
  for (let at = bytes.indexOf('GLIBC_2.'); at >= 0; at = bytes.indexOf('GLIBC_2.', at + 8)) {
    newest = Math.max(newest, Number.parseInt(bytes.toString('latin1', at + 8, at + 11), 10) || 0);
  }
  return newest;
}

export interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program and returns what it said, whatever its exit code. */
export function runProgram(file: string, args: string[]): Ran {
  const { PATH, HOME } = process.env;
  const { status, stdout, stderr } = spawnSync(file, args, {
    encoding: 'utf8',
    env: { PATH, HOME, LANG: 'C' },
    timeout: 120_000,
  });
  return { status, stdout, stderr };
}
