/** Secrets that a configuration names by their files, read anew at each use so that a changed one is taken up. */
import { readFileSync } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';

const MAX_SECRET: Bytes = 64 * KIB;

/** Without the newline at its end. @throws SkeinError CONFIG_UNREADABLE */
export function readSecret(path: string): string {
  const text = textOf(path);
  if (text.length > MAX_SECRET) throw unreadable(path, `longer than ${MAX_SECRET} characters`);
  if (text.trim() === '') throw unreadable(path, 'it is empty');
  return text.replace(/\r?\n$/, '');
}

export interface Credentials {
  username: string;
  password: string;
}

/** One line `user:password`. @throws SkeinError CONFIG_UNREADABLE */
export function readCredentials(path: string): Credentials {
  const [, username, password] = /^([^:\n]+):([^\n]*)$/.exec(readSecret(path)) ?? [];
  if (username === undefined) throw unreadable(path, 'not one line `user:password`');
  return { username, password: password ?? '' };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, (cause as Error).message, cause);
  }
}

/** Never with what the file holds. */
const unreadable = (path: string, what: string, cause?: unknown): SkeinError =>
  new SkeinError('CONFIG_UNREADABLE', `cannot use ${path}: ${what}`, {
    cause,
    fix: 'Check the file that `credentials`, `secret`, `ca`, `certificate` or `key` names, and who may read it.',
  });
