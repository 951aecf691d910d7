/** Tables that the kernel writes as text, such as /proc/net/route. */
import { readFileSync } from 'node:fs';

/** Words of each line; none where there is no such file. */
export function tableRows(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}
