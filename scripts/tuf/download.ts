/** Clause 5.7.3: a target is fetched into a part, checked while it comes, and only then put under its name. */
import { createReadStream, statSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError, syncFolder } from '@skein/agent/disk-whole.ts';
import { boundedBody, PATIENT } from '@skein/agent/update/http-blob.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { type TargetBytes, TargetCheck } from '@skein/protocol/trust/target-file.ts';
import type { FoundTarget } from './client.ts';
import { fileNameOf } from './disk-folder.ts';
import { openGet, statusError, urlUnder } from './http-mirror.ts';

export interface Where {
  baseUrl: string;
  folder: string;
}

/** @throws SkeinError UNREACHABLE, DOWNLOAD_FAILED, BLOB_MISMATCH, BLOB_TOO_LARGE, DISK_FULL, DISK_FAILED */
export async function downloadTarget(target: FoundTarget, where: Where, clock: Clock): Promise<void> {
  const { path, file, mirrorPath } = target;
  // Before any byte: a target that no known hash names is not fetched at all.
  new TargetCheck(path, file);
  const place = join(where.folder, fileNameOf(path));
  if (await isThere(place, path, file)) return;
  const part = join(where.folder, `.${fileNameOf(path)}.part`);
  await mkdir(where.folder, { recursive: true });
  try {
    await fetchInto(part, urlUnder(where.baseUrl, encodePath(mirrorPath)), path, file, clock);
    await rename(part, place);
    syncFolder(where.folder);
  } catch (thrown) {
    await rm(part, { force: true });
    throw thrown instanceof SkeinError ? thrown : diskError(thrown);
  }
}

/** Each segment for itself; one that a server would walk up by is refused. */
function encodePath(path: string): string {
  const segments = path.split('/');
  if (segments.some((segment) => segment === '.' || segment === '..')) {
    throw new SkeinError('METADATA_INVALID', `${path}: a target’s path may not walk`);
  }
  return segments.map(encodeURIComponent).join('/');
}

async function fetchInto(
  part: string,
  url: URL,
  what: string,
  file: TargetBytes,
  clock: Clock,
): Promise<void> {
  const message = await openGet(url);
  const check = new TargetCheck(what, file);
  const handle = await open(part, 'w', 0o644);
  try {
    if (message.statusCode !== 200) throw statusError(url, message.statusCode ?? 0);
    for await (const chunk of boundedBody(url, message, file.length, { clock, patience: PATIENT })) {
      check.update(chunk);
      await handle.writeFile(chunk);
    }
    check.finish();
    await handle.sync();
  } finally {
    message.destroy();
    await handle.close();
  }
}

/** The very bytes, from an earlier download. */
async function isThere(place: string, what: string, file: TargetBytes): Promise<boolean> {
  if (statSync(place, { throwIfNoEntry: false })?.size !== file.length) return false;
  const check = new TargetCheck(what, file);
  try {
    for await (const chunk of createReadStream(place)) check.update(chunk as Uint8Array);
    check.finish();
    return true;
  } catch {
    return false;
  }
}
