/** Which process has a file open, by /proc: a pid that was written down may long be somebody else's. */
import { readdirSync, readlinkSync, realpathSync } from 'node:fs';

export function holdsOpen(pid: number, path: string): boolean {
  try {
    const real = realpathSync(path);
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder).some((fd) => linkOf(`${folder}/${fd}`) === real);
  } catch {
    return false;
  }
}

/** A descriptor may be closed while the list is read. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
