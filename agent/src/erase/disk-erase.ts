/**
 * Removes what an agent left on a disk: each file is filled with zeros, synced, unlinked; folders after what is in them.
 * Links are removed, not followed. Killed in between, the next call goes on with what is still there.
 */
import {
  closeSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  rmdirSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';
import { syncFolder } from '../disk-whole.ts';
import { byOrder, kindOf } from './state-files.ts';

export interface Erased {
  kind: string;
  files: number;
  bytes: Bytes;
}

export interface Belongings {
  /** Names in the folder that are the agent's. */
  own: string[];
  /** What else is there. */
  others: string[];
}

const ZEROS = Buffer.alloc(MIB);

/** Nothing where there is no such folder. */
export function belongingsIn(stateDir: string): Belongings {
  const names = statOf(stateDir)?.isDirectory() ? readdirSync(stateDir) : [];
  return {
    own: names.filter((name) => kindOf(name) !== undefined).sort(byOrder),
    others: names.filter((name) => kindOf(name) === undefined && name !== 'agent.lock'),
  };
}

/** Files and bytes by kind, without touching them. */
export const measure = (stateDir: string): Erased[] => walk(stateDir, () => {});

/** @param removed told of each file once it is gone @throws SkeinError DISK_FAILED naming the file */
export function eraseState(stateDir: string, removed: (path: string) => void = () => {}): Erased[] {
  const erased = walk(stateDir, (path, overwritten) => {
    removeFile(path, overwritten);
    removed(path);
  });
  for (const name of belongingsIn(stateDir).own) removeFolders(join(stateDir, name));
  if (statOf(stateDir)) syncFolder(stateDir);
  return erased;
}

function walk(stateDir: string, visit: (path: string, overwritten: boolean) => void): Erased[] {
  const sums = new Map<string, Erased>();
  for (const name of belongingsIn(stateDir).own) {
    const { kind, overwritten } = kindOf(name)!;
    const sum = sums.get(kind) ?? { kind, files: 0, bytes: 0 };
    sums.set(kind, sum);
    for (const [path, size] of filesUnder(join(stateDir, name))) {
      visit(path, overwritten);
      sum.files++;
      sum.bytes += size;
    }
  }
  return [...sums.values()];
}

/** Everything that is no folder, with its size. */
function* filesUnder(path: string): Iterable<[path: string, size: Bytes]> {
  const found = statOf(path);
  if (!found) return;
  if (!found.isDirectory()) return yield [path, found.isFile() ? found.size : 0];
  for (const name of guarded(path, () => readdirSync(path)).sort()) yield* filesUnder(join(path, name));
}

function removeFolders(path: string): void {
  if (!statOf(path)?.isDirectory()) return;
  for (const name of readdirSync(path)) removeFolders(join(path, name));
  guarded(path, () => rmdirSync(path));
}

function removeFile(path: string, overwritten: boolean): void {
  guarded(path, () => {
    if (overwritten && statOf(path)?.isFile()) overwrite(path);
    unlinkSync(path);
  });
}

/** In place: a file system that writes over its own blocks then holds zeros. Flash below it may not. */
function overwrite(path: string): void {
  const file = openSync(path, 'r+');
  try {
    const { size } = lstatSync(path);
    for (let at = 0; at < size; at += ZEROS.length)
      writeSync(file, ZEROS, 0, Math.min(ZEROS.length, size - at), at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

const statOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

function guarded<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new SkeinError('DISK_FAILED', `cannot erase ${path}: ${(cause as Error).message}`, {
      cause,
      fix: 'Run it as the user that the agent runs as, or as root; what is gone is gone, and it goes on from here.',
    });
  }
}
