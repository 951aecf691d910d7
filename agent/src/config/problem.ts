/** What is wrong with a configuration, in words that name the place and the likeliest right key. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Path } from './node.ts';

/** Says where a path stands, `agent.yaml:12` or the variable that set it. */
export type Where = (path: Path) => string;

export const problem = (where: string, path: Path, what: string, fix?: string): SkeinError =>
  new SkeinError('CONFIG_INVALID', `${where}: ${path.length > 0 ? `${path.join('.')}: ` : ''}${what}`, {
    fix: fix ?? 'Correct the value; `skein-agent config` lists every key with its unit and default.',
    data: { key: path.join('.'), line: Number(/:(\d+)$/.exec(where)?.[1] ?? 0) },
  });

export function unknownKey(key: string, known: string[], path: Path, where: Where): SkeinError {
  const near = known
    .map((name) => ({ name, away: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.away - b.away)[0];
  const hint = near && near.away <= Math.max(2, key.length / 3) ? `; did you mean ${near.name}?` : '';
  return problem(
    where([...path, key]),
    [...path, key],
    `is not a key${hint}`,
    `Known here: ${known.join(', ')}.`,
  );
}

/** Levenshtein distance; both words are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}
