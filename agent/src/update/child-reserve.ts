/**
 * Sets disk space aside by util-linux's `fallocate --keep-size`: Node has no such call, and writing zeros first would double
 * what a deployment writes. The blocks are marked, not written; the file's length stays, so a part is still a prefix.
 */
import { execFile } from 'node:child_process';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

const WITHIN_MS: Millis = 30_000;

/** False from the first time on that the program or the file system turned out not to know how. */
export function childReserve(
  log: Log,
  program = 'fallocate',
): (path: string, size: Bytes) => Promise<boolean> {
  let able = true;
  return async (path, size) => {
    if (!able) return false;
    const words = ['--keep-size', '--offset', '0', '--length', String(size), path];
    const failed = await new Promise<string | undefined>((done) => {
      const environment = { PATH: process.env.PATH ?? '', LC_ALL: 'C' };
      execFile(program, words, { timeout: WITHIN_MS, env: environment }, (error, _, stderr) =>
        done(error ? stderr || error.message : undefined),
      );
    });
    if (failed === undefined) return true;
    if (/No space left|quota/i.test(failed))
      throw new SkeinError('DISK_FULL', `${size} bytes can not be set aside: ${failed.trim()}`, {
        fix: 'Free space on the disk that holds the models, or order a smaller model.',
      });
    able = false;
    log.info('disk space can not be set aside here; it is only counted', { why: failed.trim() });
    return false;
  };
}
