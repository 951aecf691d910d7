/** Reads the YAML file into values and line numbers; what they mean is `config.ts`. At most 256 KiB. */
import { readFileSync } from 'node:fs';
import { SkeinError } from '@skein/protocol/errors.ts';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { ConfigFile } from './config.ts';

const MAX_BYTES = 256 * 1024;

/** @throws SkeinError CONFIG_UNREADABLE, CONFIG_INVALID with file and line */
export function readConfigFile(path: string): ConfigFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SkeinError('CONFIG_UNREADABLE', `can not read ${path}: ${(cause as Error).message}`, { cause });
  }
  if (text.length > MAX_BYTES)
    throw new SkeinError('CONFIG_INVALID', `${path}: longer than ${MAX_BYTES} bytes`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const wrong = document.errors[0];
  const refuse = (line: number, what: string) =>
    new SkeinError('CONFIG_INVALID', `${path}:${line}: ${what}`, {
      fix: 'Correct the YAML.',
      data: { line },
    });
  if (wrong) throw refuse(lines.linePos(wrong.pos[0]).line, wrong.message);
  const values: unknown = document.toJS({ maxAliasCount: 50 }) ?? {};
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw refuse(1, 'must be a map of keys');
  }
  return {
    name: path,
    values: values as Record<string, unknown>,
    lineOf(key) {
      const node = document.get(key, true);
      return isNode(node) && node.range ? lines.linePos(node.range[0]).line : 1;
    },
  };
}
