import { execFileSync } from 'node:child_process';
import { parseBounded } from '@skein/agent/bounded-json.ts';
import { describe, expect, it } from 'vitest';

const SIZE = 16 << 20;
/** What a client may repeat, and how a list of it ends. */
const REPEATED: Record<string, [repeated: string, last: string]> = {
  'empty objects': ['{},', '{}'],
  'empty lists': ['[],', '[]'],
  'lists of one': ['[1],', '[1]'],
  'short strings': ['"ab",', '""'],
  'longer strings': ['"abcdefghijkl",', '""'],
  'objects of one key': ['{"a":1},', '{}'],
  'numbers that are boxed': ['1.5,null,', '1'],
  'whole numbers': ['1,', '1'],
  'numbers and a character of two bytes': ['1.5,', '"中"'],
};

const listOf = (repeated: string, last: string, size: number): string =>
  `[${repeated.repeat(Math.floor(size / repeated.length))}${last}]`;

/** The heap that V8 gives itself on a board of 512 MB, some of it in use. */
const SMALL_HEAP = ['--max-old-space-size=128', '--max-semi-space-size=1'];
const inSmallHeap = (script: string): string =>
  execFileSync(process.execPath, [...SMALL_HEAP, '--input-type=module', '-e', script], { encoding: 'utf8' });

describe('JSON from outside', () => {
  it.each(Object.entries(REPEATED))(
    'is parsed or refused, and never ends the process: %s',
    (_, [repeated, last]) => {
      const module = new URL('../../agent/src/bounded-json.ts', import.meta.url);
      const said = inSmallHeap(`
        import { parseBounded } from ${JSON.stringify(module.href)};
        const inUse = Array.from({ length: 25 }, () => new Array(131_072).fill(0.5));
        for (let size = ${SIZE}; size > 250_000; size *= 0.6) {
          const [repeated, last] = ${JSON.stringify([repeated, last])};
          const text = Buffer.concat([Buffer.from('['), Buffer.alloc(size - (size % repeated.length), repeated), Buffer.from(last + ']')]);
          try {
            console.log(parseBounded(new TextDecoder().decode(text)).length > 0);
          } catch (error) {
            console.log(error.code);
          }
        }
        if (inUse.length !== 25) console.log('gone');`);
      const lines = said.trim().split('\n');
      expect(lines[0]).toBe('PAYLOAD_TOO_LARGE');
      expect(lines.at(-1)).toBe('true');
      expect(new Set(lines)).toEqual(new Set(['PAYLOAD_TOO_LARGE', 'true']));
    },
    60_000,
  );

  it('takes a tensor of two million numbers', () => {
    expect(parseBounded(listOf('0.125,', '1', 12 << 20))).toHaveLength(2_097_153);
  });

  it('says what to do instead', () => {
    expect(() => parseBounded(listOf('[],', '[]', SIZE))).toThrow(
      expect.objectContaining({
        code: 'PAYLOAD_TOO_LARGE',
        fix: expect.stringContaining('binary_data_size'),
      }),
    );
  });

  it('is JSON or a SyntaxError', () => {
    expect(parseBounded('{"a":[1]}')).toEqual({ a: [1] });
    expect(() => parseBounded('{')).toThrow(SyntaxError);
  });
});
