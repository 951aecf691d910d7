/** YAML text to values whose lines are known. Bounds: 256 KiB, 50 aliases. */
import { SkeinError } from '@skein/protocol/errors.ts';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { ConfigFile } from '../config/parse.ts';

const MAX_CHARACTERS = 262_144;

const refuse = (where: string, what: string): SkeinError =>
  new SkeinError('CONFIG_INVALID', `${where}: ${what}`, { fix: 'Correct the YAML.' });

/** @param name of the file, for errors. @throws SkeinError CONFIG_INVALID with the line */
export function parseYaml(text: string, name: string): ConfigFile {
  if (text.length > MAX_CHARACTERS) throw refuse(name, `longer than ${MAX_CHARACTERS} characters`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const wrong = document.errors[0];
  if (wrong) throw refuse(`${name}:${lines.linePos(wrong.pos[0]).line}`, wrong.message);
  return {
    name,
    values: valuesOf(() => document.toJS({ maxAliasCount: 50 }), name),
    lineOf(path) {
      for (let length = path.length; length > 0; length -= 1) {
        const node = document.getIn(path.slice(0, length), true);
        if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
      }
      return 1;
    },
  };
}

function valuesOf(read: () => unknown, name: string): unknown {
  try {
    return read();
  } catch (cause) {
    throw refuse(name, (cause as Error).message);
  }
}
