/**
 * The packages that carry machine code stay packages beside the bundle, because they find their binaries by path:
 *   node_modules/onnxruntime-node/bin/napi-v6/linux/<arch>/   node_modules/better-sqlite3/prebuilds/linux-<arch>.node
 * Only what runs on the one platform is copied: no other platform's binary, no source, no map, no type.
 */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Architecture } from './architectures.ts';

interface Native {
  name: string;
  /** Files by their path in the package. */
  ships: (path: string, arch: Architecture) => boolean;
  /** Must be among them, or the package would not run. */
  needs: (arch: Architecture) => RegExp;
}

const PLATFORM_LOADER = /^lib\/(linux|linuxmusl|darwin|win32)-/;

const NATIVES: readonly Native[] = [
  {
    name: 'onnxruntime-node',
    ships: (path, { node }) =>
      path === 'package.json' ||
      /^dist\/[^/]+\.js$/.test(path) ||
      new RegExp(`^bin/napi-v\\d+/linux/${node}/`).test(path),
    needs: ({ node }) => new RegExp(`^bin/napi-v\\d+/linux/${node}/onnxruntime_binding\\.node$`),
  },
  {
    name: 'onnxruntime-common',
    ships: (path) => path === 'package.json' || /^dist\/cjs\/.*\.js(on)?$/.test(path),
    needs: () => /^dist\/cjs\/index\.js$/,
  },
  {
    name: 'better-sqlite3',
    ships: (path, { node }) =>
      path === 'package.json' ||
      (/^lib\/.*\.js$/.test(path) && !PLATFORM_LOADER.test(path)) ||
      path === `prebuilds/linux-${node}.node`,
    needs: ({ node }) => new RegExp(`^prebuilds/linux-${node}\\.node$`),
  },
];

/** Never inside the bundle. */
export const NATIVE_PACKAGES: readonly string[] = NATIVES.map((native) => native.name);

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

/** Copies them under `target`/node_modules. @throws SkeinError NOT_FOUND when a binary is missing */
export function placeNatives(root: string, arch: Architecture, target: string): void {
  for (const native of NATIVES) {
    const from = join(root, 'node_modules', native.name);
    const files = filesOf(from).filter((path) => native.ships(path, arch));
    if (!files.some((path) => native.needs(arch).test(path)))
      throw new SkeinError('NOT_FOUND', `${native.name} has no binary for ${arch.deb}`, {
        fix: 'Run `npm ci`; if it stays missing, this version of the package dropped the platform.',
      });
    for (const path of files) {
      const to = join(target, 'node_modules', native.name, path);
      mkdirSync(dirname(to), { recursive: true });
      copyFileSync(join(from, path), to);
    }
  }
}
