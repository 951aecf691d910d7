/**
 * Plain ustar archives of regular files, written deterministically: names as given, mode 0644, owner 0, time 0.
 * Layout: per file a 512-byte header, the bytes, zeros to the next multiple of 512; two empty blocks end it.
 * Limits when reading: 10,000 files, no two of one name; names of at most 100 ASCII characters without `..` or a leading `/`.
 */
import { SkeinError } from '@skein/protocol/errors.ts';

const BLOCK = 512;
const MAX_FILES = 10_000;
const SAFE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}$/;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;
/** Octal digits and nothing else: `parseInt` would take a number with rubbish behind it. */
const numberAt = (block: Uint8Array, from: number, length: number): number => {
  const text = textAt(block, from, length).trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
};
const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;

const safe = (name: string): boolean => SAFE_NAME.test(name) && !name.split('/').includes('..');
const broken = (message: string) =>
  new SkeinError('BUNDLE_INVALID', message, { fix: 'Make the bundle again with `skein-model pack`.' });

function header(name: string, size: number): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number) => block.set(encoder.encode(text), at);
  put(name, 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(size, 11), 124);
  put(octal(0, 11), 136);
  put('        ', 148);
  put('0', 156);
  put('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

export function writeTar(files: Iterable<readonly [string, Uint8Array]>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, bytes] of files) {
    if (!safe(name)) throw broken(`\`${name}\` can not be a name in a bundle`);
    parts.push(header(name, bytes.length), bytes, new Uint8Array(padded(bytes.length) - bytes.length));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** As it stands: a name that ends in white space is another name. */
const textAt = (block: Uint8Array, from: number, length: number): string =>
  decoder.decode(block.subarray(from, from + length)).split('\0')[0]!;

function checkHeader(block: Uint8Array): { name: string; size: number } {
  const stored = numberAt(block, 148, 8);
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  const name = textAt(block, 0, 100);
  const size = numberAt(block, 124, 12);
  const kind = block[156];
  if (stored !== sum || !Number.isSafeInteger(size) || size < 0) throw broken('the archive is damaged');
  if (!safe(name) || (kind !== 0x30 && kind !== 0))
    throw broken(`the archive holds \`${name}\`, which is not a plain file`);
  return { name, size };
}

/** @throws SkeinError BUNDLE_TRUNCATED, BUNDLE_INVALID */
export function readTar(bytes: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let at = 0;
  for (; at + BLOCK <= bytes.length; ) {
    const block = bytes.subarray(at, at + BLOCK);
    if (block.every((byte) => byte === 0)) return files;
    const { name, size } = checkHeader(block);
    if (files.has(name)) throw broken(`the archive holds \`${name}\` twice`);
    at += BLOCK;
    if (at + size > bytes.length || files.size >= MAX_FILES) break;
    files.set(name, bytes.subarray(at, at + size));
    at += padded(size);
  }
  throw new SkeinError('BUNDLE_TRUNCATED', `the archive ends in the middle, after ${bytes.length} bytes`, {
    fix: 'Copy the file again.',
  });
}
