/** How the package's launcher starts Node on this machine, found out by running it: what is measured is what people run. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const LAUNCHER = join(import.meta.dirname, '../agent/package/skein-agent');

/** In place of Node: says how it was started. */
const SAYS_HOW = `#!/bin/sh
for given in "$@"; do echo "flag $given"; done
env | sed 's/^/env /'`;

export interface HowNodeStarts {
  flags: string[];
  env: Record<string, string>;
}

/** @throws when the launcher sets nothing: then it is read wrongly */
export function asShipped(): HowNodeStarts {
  const root = mkdtempSync(join(tmpdir(), 'skein-launcher-'));
  try {
    const bin = join(root, 'lib', 'skein-agent', 'bin');
    mkdirSync(bin, { recursive: true });
    mkdirSync(join(root, 'bin'));
    copyFileSync(LAUNCHER, join(root, 'bin', 'skein-agent'));
    writeFileSync(join(bin, 'node'), SAYS_HOW, { mode: 0o755 });
    const said = execFileSync('sh', [join(root, 'bin', 'skein-agent')], {
      env: { PATH: process.env.PATH },
      encoding: 'utf8',
    });
    return howOf(said);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function howOf(said: string): HowNodeStarts {
  const flags = [...said.matchAll(/^flag (--\S+)$/gm)].map((match) => match[1]!);
  const set = [...said.matchAll(/^env ((?:MALLOC|GLIBC)_\w+)=(.+)$/gm)];
  const env = Object.fromEntries(set.map(([, key, value]) => [key!, value!]));
  if (flags.length === 0 || set.length === 0)
    throw new Error(`${LAUNCHER} starts Node in another way: ${said}`);
  return { flags, env };
}
