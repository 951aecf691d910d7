/** Base64 (RFC 4648 §4, padded) for bytes inside JSON, where no Buffer may be. */
import { SkeinError } from './errors.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Map([...ALPHABET].map((character, value) => [character, value]));

export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const group = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const letters = [18, 12, 6, 0].map((shift) => ALPHABET[(group >> shift) & 63]!).join('');
    const left = bytes.length - at;
    parts.push(left >= 3 ? letters : letters.slice(0, left + 1).padEnd(4, '='));
  }
  return parts.join('');
}

/** @throws SkeinError MESSAGE_INVALID for anything but the one padded spelling of some bytes */
export function fromBase64(text: string): Uint8Array {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding || 0);
  let at = 0;
  for (let from = 0; from < text.length; from += 4) {
    const group = [...text.slice(from, from + 4)].reduce((sum, letter) => (sum << 6) | sextet(letter), 0);
    for (const shift of [16, 8, 0]) if (at < bytes.length) bytes[at++] = (group >> shift) & 255;
  }
  if (text.length % 4 !== 0 || toBase64(bytes) !== text) throw invalid();
  return bytes;
}

function sextet(letter: string): number {
  if (letter === '=') return 0;
  const value = VALUES.get(letter);
  if (value === undefined) throw invalid();
  return value;
}

const invalid = () => new SkeinError('MESSAGE_INVALID', 'not base64');
