/** A folder in memory (a tmpfs) for what must not lie on the disk. Nobody else may read it or place files there. */
import { createHash } from 'node:crypto';
import { lstat, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';

/** statfs(2). */
const TMPFS_MAGIC = 0x01021994;

/** systemd's RuntimeDirectory=, or a folder of this state directory's own. @throws Error when it is not in memory, or another's */
export async function memoryFolder(name: string, stateDir: string): Promise<string> {
  const folder = memoryPath(name, stateDir);
  await ownFolder(folder);
  if ((await statfs(folder)).type !== TMPFS_MAGIC) throw new Error(`${folder} does not lie in memory`);
  return folder;
}

/** Where it is, or would be. */
export function memoryPath(name: string, stateDir: string): string {
  const given = process.env.RUNTIME_DIRECTORY?.split(':')[0];
  const own = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
  const suffix = name === 'candidates' ? '' : `-${name}`;
  return given ? join(given, name) : `/dev/shm/skein-agent-${process.getuid?.() ?? 0}-${own}${suffix}`;
}

/** @throws Error when it belongs to someone else */
export async function ownFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.())
    throw new Error(`${folder} belongs to someone else`);
}
