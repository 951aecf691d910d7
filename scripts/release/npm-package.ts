/**
 * Brings a package of the lock file that this machine's npm did not install, because it is for another processor.
 * Its bytes count only when they hash to the lock file's `integrity`; they are kept for the next release.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { command } from './command.ts';

interface Locked {
  version: string;
  /** `sha512-<base64>` */
  integrity: string;
}

/** @throws SkeinError NOT_FOUND when the lock file does not name the package */
export function lockedPackage(root: string, name: string): Locked {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Partial<Locked>>;
  };
  const { version, integrity } = lock.packages[`node_modules/${name}`] ?? {};
  if (version && integrity) return { version, integrity };
  throw new SkeinError('NOT_FOUND', `package-lock.json does not name ${name}`, { fix: 'Run `npm install`.' });
}

function hashesTo(file: string, integrity: string): boolean {
  const [algorithm, wanted] = integrity.split(/-(.*)/s) as [string, string];
  return createHash(algorithm).update(readFileSync(file)).digest('base64') === wanted;
}

/** npm as the one that runs us, else the one on the PATH. */
function npm(args: string[], cwd: string): Promise<string> {
  const own = process.env.npm_execpath;
  const byNode = own?.endsWith('.js') === true;
  return command(byNode ? process.execPath : 'npm', byNode ? [own, ...args] : args, { cwd });
}

/**
 * The package's tarball, in `folder`.
 * @throws SkeinError BLOB_MISMATCH when its bytes are not the locked ones; UNREACHABLE when npm can not bring it
 */
export async function fetchTarball(root: string, name: string, folder: string): Promise<string> {
  const { version, integrity } = lockedPackage(root, name);
  const file = join(folder, `${name}-${version}.tgz`);
  if (existsSync(file) && hashesTo(file, integrity)) return file;
  mkdirSync(folder, { recursive: true });
  const args = ['pack', `${name}@${version}`, '--pack-destination', folder];
  await npm([...args, '--prefer-offline', '--ignore-scripts', '--silent'], folder).catch((cause: Error) => {
    throw new SkeinError('UNREACHABLE', `npm can not bring ${name}@${version}: ${cause.message}`, {
      cause,
      fix: 'Check that the npm registry is reachable, then run the same command again.',
    });
  });
  if (hashesTo(file, integrity)) return file;
  throw new SkeinError('BLOB_MISMATCH', `${name}@${version} is not what package-lock.json names`, {
    fix: `Remove ${file}; if it comes back the same, the registry serves other bytes than were locked.`,
  });
}
