/**
 * OLPC canonical JSON, the bytes that TUF signatures cover: keys sorted by code point, no white space, strings
 * escape only `"` and `\`, numbers are integers. Fractions have no canonical form and are refused, as are lone
 * surrogates (they have no UTF-8) and integers that a double can not hold exactly.
 * Limit: {@link MAX_DEPTH} levels, so that a recursion bomb ends in an error and not in the stack.
 */
import { SkeinError } from '../errors.ts';

export const MAX_DEPTH = 64;

const encoder = new TextEncoder();

/** @throws SkeinError METADATA_INVALID when `value` has no canonical form. */
export function canonicalJson(value: unknown): Uint8Array {
  return encoder.encode(write(value, 0));
}

function write(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw refused(`it is nested deeper than ${MAX_DEPTH} levels`);
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'number') return integer(value);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`;
  if (typeof value === 'object') return members(value as Record<string, unknown>, depth);
  throw refused(`${typeof value} is not a JSON value`);
}

function members(value: Record<string, unknown>, depth: number): string {
  const keys = Object.keys(value).sort(byCodePoint);
  return `{${keys.map((key) => `${quote(key)}:${write(value[key], depth + 1)}`).join(',')}}`;
}

function quote(text: string): string {
  if (!text.isWellFormed()) throw refused('a string has a lone surrogate');
  return `"${text.replace(/["\\]/g, (character) => `\\${character}`)}"`;
}

function integer(value: number): string {
  if (!Number.isSafeInteger(value)) throw refused(`${value} is not an exact integer`);
  return String(value);
}

/** UTF-16 order differs from code point order beyond U+FFFF: surrogates (D800…) sort before U+E000…U+FFFF. */
function byCodePoint(a: string, b: string): number {
  const shared = Math.min(a.length, b.length);
  for (let at = 0; at < shared; at++) {
    const [left, right] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for what is beyond every other unit. Halves of one pair keep their order. */
const rank = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);

const refused = (why: string) => new SkeinError('METADATA_INVALID', `no canonical JSON: ${why}`);
