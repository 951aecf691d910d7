/**
 * The models installed in a state directory, read without touching it: update.db is copied with its log and opened there,
 * because SQLite writes beside every file that it reads. An agent may run on the directory meanwhile; a copy that was taken
 * in the middle of a checkpoint is damaged, is noticed as that, and is taken again.
 */
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import Database from 'better-sqlite3';
import { readBlob } from '../at-rest/disk-blob.ts';
import type { StagedModel } from './ports.ts';
import { stagedModel } from './release.ts';
import type { Release, UpdateState } from './state.ts';

const COPIES = 5;

/**
 * undefined: none of this name is installed.
 * @param blobKey of the model store, where it is encrypted
 * @throws SkeinError DISK_FAILED, NOT_FOUND, BLOB_MISMATCH, MANIFEST_INVALID, DATA_KEY_*
 */
export async function installedModel(
  stateDir: string,
  model: string,
  blobKey?: Uint8Array,
): Promise<StagedModel | undefined> {
  const release = committedRelease(stateDir, model);
  if (!release) return undefined;
  const pathOf = (sha256: Sha256Hex) => join(stateDir, 'models', sha256);
  return stagedModel({ pathOf, read: (sha256) => verified(pathOf(sha256), sha256, blobKey) }, release);
}

async function verified(path: string, sha256: Sha256Hex, blobKey?: Uint8Array): Promise<Uint8Array> {
  const bytes = await readBlob(path, blobKey);
  if (createHash('sha256').update(bytes).digest('hex') === sha256) return bytes;
  throw new SkeinError('BLOB_MISMATCH', `${path} does not have the hash that it is named by`, {
    fix: 'Restart the agent: it fetches what is damaged again.',
  });
}

function committedRelease(stateDir: string, model: string): Release | null {
  const file = join(stateDir, 'update.db');
  if (!existsSync(file)) return null;
  for (let copy = 1; ; copy++) {
    try {
      return readCopy(file, model);
    } catch (cause) {
      if (copy < COPIES) continue;
      throw new SkeinError('DISK_FAILED', `cannot read ${file}: ${asSkeinError(cause).message}`, {
        cause,
        fix: 'Run this as the agent’s user, or `skein-agent doctor`.',
      });
    }
  }
}

function readCopy(file: string, model: string): Release | null {
  const folder = mkdtempSync(join(tmpdir(), 'skein-installed-'));
  try {
    const copy = join(folder, 'update.db');
    copyFileSync(file, copy);
    if (existsSync(`${file}-wal`)) copyFileSync(`${file}-wal`, `${copy}-wal`);
    const db = new Database(copy);
    try {
      if (db.pragma('quick_check', { simple: true }) !== 'ok') throw new Error('it is damaged');
      const state = db.prepare('SELECT state FROM machines WHERE model = ?').pluck().get(model);
      return typeof state === 'string' ? (JSON.parse(state) as UpdateState).committed : null;
    } finally {
      db.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
