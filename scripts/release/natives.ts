/**
 * Machine code of packages, as files beside the bundle: where their code, which is in the bundle, looks for it.
 *   bin/napi-v6/linux/<arch>/   onnxruntime      prebuilds/linux-<arch>.node   better-sqlite3
 * Only what runs on the one platform is copied.
 */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Architecture } from './architectures.ts';

interface Native {
  name: string;
  /** Files by their path in the package, which is their path here. */
  ships: (path: string, arch: Architecture) => boolean;
  /** Must be among them, or the package would not run. */
  needs: (arch: Architecture) => RegExp;
}

const NATIVES: readonly Native[] = [
  {
    name: 'onnxruntime-node',
    ships: (path, { node }) => new RegExp(`^bin/napi-v\\d+/linux/${node}/`).test(path),
    needs: ({ node }) => new RegExp(`^bin/napi-v\\d+/linux/${node}/onnxruntime_binding\\.node$`),
  },
  {
    name: 'better-sqlite3',
    ships: (path, { node }) => path === `prebuilds/linux-${node}.node`,
    needs: ({ node }) => new RegExp(`^prebuilds/linux-${node}\\.node$`),
  },
];

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

/** Copies them under `target`. @throws SkeinError NOT_FOUND when a binary is missing */
export function placeNatives(root: string, arch: Architecture, target: string): void {
  for (const native of NATIVES) {
    const from = join(root, 'node_modules', native.name);
    const files = filesOf(from).filter((path) => native.ships(path, arch));
    if (!files.some((path) => native.needs(arch).test(path)))
      throw new SkeinError('NOT_FOUND', `${native.name} has no binary for ${arch.deb}`, {
        fix: 'Run `npm ci`; if it stays missing, this version of the package dropped the platform.',
      });
    for (const path of files) {
      const to = join(target, path);
      mkdirSync(dirname(to), { recursive: true });
      copyFileSync(join(from, path), to);
    }
  }
}
