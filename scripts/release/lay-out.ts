/**
 * The tree of one package:
 *   /usr/bin/skein-agent, skein-model        wrappers
 *   /usr/lib/skein-agent/bin/node            the private runtime
 *   /usr/lib/skein-agent/app/                     the bundle
 *   /usr/lib/skein-agent/bin/napi-v6, prebuilds   machine code of packages
 *   /usr/lib/systemd/system/skein-agent.service, /etc/skein/agent.yaml
 *   /usr/share/doc/skein-agent/              copyright, AT-REST.md
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Architecture } from './architectures.ts';
import { bundleAgent } from './bundle.ts';
import { collectLicences } from './licences.ts';
import { placeNatives } from './natives.ts';
import { placeRuntime, type Runtime } from './node-runtime.ts';

const LIB = 'usr/lib/skein-agent';

/** From agent/package to where it is installed. */
const DATA: Readonly<Record<string, string>> = {
  'skein-agent': 'usr/bin/skein-agent',
  'skein-model': 'usr/bin/skein-model',
  'skein-agent.service': 'usr/lib/systemd/system/skein-agent.service',
  'agent.yaml': 'etc/skein/agent.yaml',
  '../AT-REST.md': 'usr/share/doc/skein-agent/AT-REST.md',
};

const EXECUTABLE = /^usr\/(bin\/|lib\/skein-agent\/bin\/node$)/;

/** Whether the installed file at `path` (no leading slash) is a program. */
export const isProgram = (path: string): boolean => EXECUTABLE.test(path);

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** Fills the empty folder `tree`; modes and times are set when it is packed. */
export async function layOut(
  root: string,
  arch: Architecture,
  cache: string,
  tree: string,
): Promise<Runtime> {
  const runtime = await placeRuntime(root, arch, cache, join(tree, LIB, 'bin', 'node'));
  const sources = await bundleAgent(root, join(tree, LIB, 'app'));
  write(join(tree, LIB, 'app', 'package.json'), '{ "type": "module" }\n');
  placeNatives(root, arch, join(tree, LIB));
  write(join(tree, 'usr/share/doc/skein-agent/copyright'), collectLicences(root, sources, runtime));
  for (const [name, path] of Object.entries(DATA)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    copyFileSync(join(root, 'agent', 'package', name), join(tree, path));
  }
  return runtime;
}
