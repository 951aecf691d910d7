/** How the package's launcher starts Node, as it says itself: what is measured is what people run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const LAUNCHER = join(import.meta.dirname, '../../agent/package/skein-agent');

export function asShipped(): { flags: string[]; env: Record<string, string> } {
  const text = readFileSync(LAUNCHER, 'utf8');
  const flags = text.match(/(?<= )--[a-z0-9-]+(=\S+)?/g) ?? [];
  const env = Object.fromEntries(
    [...text.matchAll(/\b(MALLOC_\w+)=(\d+)/g)].map(([, key, value]) => [key!, value!]),
  );
  if (flags.length === 0 || Object.keys(env).length === 0)
    throw new Error(`${LAUNCHER} starts Node in another way`);
  return { flags, env };
}
