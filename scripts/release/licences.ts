/** The licences of everything in a package: Debian wants them in /usr/share/doc/<package>/copyright, and so do their authors. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';
import { NATIVE_PACKAGES } from './natives.ts';

interface Description {
  name: string;
  version: string;
  license?: string;
  author?: string | { name: string };
}

const PACKAGE = /^((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\//;

/** Folders of the packages whose code is in the bundle, with those that lie beside it. */
function packagesIn(metafile: Metafile): string[] {
  const bundled = Object.keys(metafile.inputs).flatMap((input) => PACKAGE.exec(input)?.[1] ?? []);
  const beside = NATIVE_PACKAGES.map((name) => `node_modules/${name}`);
  return [...new Set([...bundled, ...beside])].filter((folder) => !folder.includes('@skein/')).sort();
}

/** The licence files that the package carries, or what its description says when it carries none. */
function termsOf(folder: string, about: Description): string {
  const files = readdirSync(folder)
    .filter((name) => /^(licen[cs]e|copying|notice|third-?party)/i.test(name))
    .sort();
  if (files.length) return files.map((name) => readFileSync(join(folder, name), 'utf8').trim()).join('\n\n');
  const author = typeof about.author === 'string' ? about.author : about.author?.name;
  return `${about.license ?? 'no licence is stated'}${author ? `, by ${author}` : ''}; the package carries no licence text.`;
}

function entry(root: string, folder: string): string {
  const path = join(root, folder);
  const about = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as Description;
  return section(`${about.name} ${about.version} (${about.license ?? 'see below'})`, termsOf(path, about));
}

const section = (title: string, body: string): string => `${'─'.repeat(78)}\n${title}\n\n${body}\n`;

/** The whole `copyright` file. */
export function collectLicences(
  root: string,
  metafile: Metafile,
  node: { version: string; licence: string },
) {
  const own = join(root, 'LICENSE');
  return [
    'Skein’s agent, with the parts it is made of and their licences.\n',
    section('Skein (Apache-2.0)', existsSync(own) ? readFileSync(own, 'utf8').trim() : 'Apache-2.0'),
    section(`Node.js ${node.version}`, node.licence.trim()),
    ...packagesIn(metafile).map((folder) => entry(root, folder)),
  ].join('\n');
}
