/**
 * The licences of everything in a package: Debian wants them in /usr/share/doc/<package>/copyright, and their authors
 * want them to travel with the code. A package that forgot its text has it in agent/package/licences/<name>.txt;
 * without either there is no release.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Metafile } from 'esbuild';
import { NATIVE_PACKAGES } from './natives.ts';

interface Description {
  name: string;
  version: string;
  license?: string;
}

const PACKAGE = /^((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\//;
const LICENCE_FILE = /^(licen[cs]e|copying|notice|third-?party)/i;

/** Folders of the packages whose code is in the bundle, with those that lie beside it. */
function packagesIn(metafile: Metafile): string[] {
  const bundled = Object.keys(metafile.inputs).flatMap((input) => PACKAGE.exec(input)?.[1] ?? []);
  const beside = NATIVE_PACKAGES.map((name) => `node_modules/${name}`);
  return [...new Set([...bundled, ...beside])].filter((folder) => !folder.includes('@skein/')).sort();
}

/** @throws SkeinError NOT_FOUND */
function termsOf(root: string, folder: string, { name, license }: Description): string {
  const read = (file: string): string => readFileSync(file, 'utf8').trim();
  const own = readdirSync(folder).filter((file) => LICENCE_FILE.test(file));
  if (own.length)
    return own
      .sort()
      .map((file) => read(join(folder, file)))
      .join('\n\n');
  const supplied = join(root, 'agent', 'package', 'licences', `${name}.txt`);
  if (existsSync(supplied)) return read(supplied);
  throw new SkeinError('NOT_FOUND', `${name} (${license ?? 'no licence stated'}) carries no licence text`, {
    fix: `Add the text that its authors publish as agent/package/licences/${name}.txt.`,
  });
}

function entry(root: string, folder: string): string {
  const path = join(root, folder);
  const about = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as Description;
  return section(
    `${about.name} ${about.version} (${about.license ?? 'see below'})`,
    termsOf(root, path, about),
  );
}

const section = (title: string, body: string): string => `${'─'.repeat(78)}\n${title}\n\n${body}\n`;

/** The whole `copyright` file. @throws SkeinError NOT_FOUND for a package without its licence's text */
export function collectLicences(
  root: string,
  metafile: Metafile,
  node: { version: string; licence: string },
): string {
  return [
    'Skein’s agent, with the parts it is made of and their licences.\n',
    section('Skein (Apache-2.0)', readFileSync(join(root, 'LICENSE'), 'utf8').trim()),
    section(`Node.js ${node.version}`, node.licence.trim()),
    ...packagesIn(metafile).map((folder) => entry(root, folder)),
  ].join('\n');
}
