/**
 * The licences of everything in a package: Debian wants them in /usr/share/doc/<package>/copyright, and their authors
 * want them to travel with the code. A package that forgot its text has it in agent/package/licences/<name>.txt;
 * without either there is no release.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';

interface Description {
  name: string;
  version: string;
  license?: string;
}

const PACKAGE = /^((?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+)\//;
const LICENCE_FILE = /^(licen[cs]e|copying|notice|third-?party)/i;

/** Folders of the packages whose code is among `sources`. */
function packagesIn(sources: readonly string[]): string[] {
  const folders = sources.flatMap((source) => PACKAGE.exec(source)?.[1] ?? []);
  return [...new Set(folders)].filter((folder) => !folder.includes('@skein/')).sort();
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
  sources: readonly string[],
  node: { version: string; licence: string },
): string {
  return [
    'Skein’s agent, with the parts it is made of and their licences.\n',
    section('Skein (Apache-2.0)', readFileSync(join(root, 'LICENSE'), 'utf8').trim()),
    section(`Node.js ${node.version}`, node.licence.trim()),
    ...packagesIn(sources).map((folder) => entry(root, folder)),
  ].join('\n');
}
