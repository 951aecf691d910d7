/**
 * The name of a data key, written before everything that it encrypts: it tells a key that is another one, which is an
 * operator's affair, from bytes that are damaged. A check follows it, so that a damaged name is damage.
 *
 * Layout: `name(4) ‖ check(2)`, the check being the low half of the CRC-32 of what stands before the name and of the name.
 */
import { createHmac } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Bytes } from '@skein/protocol/units.ts';

const NAME: Bytes = 4;
export const NAME_BYTES: Bytes = NAME + 2;

/** Tells nothing of the key. */
const nameOf = (key: Uint8Array): Buffer =>
  createHmac('sha256', key).update('skein at rest: name of a data key').digest().subarray(0, NAME);

const checkOf = (mark: Uint8Array, name: Uint8Array): number => crc32(name, crc32(mark)) & 0xffff;

/** `mark ‖ name ‖ check`: the head of everything that this key encrypts. */
export function headFor(key: Uint8Array, mark: Uint8Array): Buffer {
  const name = nameOf(key);
  const check = Buffer.alloc(2);
  check.writeUInt16BE(checkOf(mark, name));
  return Buffer.concat([mark, name, check]);
}

/** `clear`: without the mark. `ours`: under this head. `other`: under another key. `damaged`: none can be told. */
export type Whose = 'clear' | 'ours' | 'other' | 'damaged';

/** @param head of our key, or the mark alone when there is none */
export function whose(stored: Uint8Array, head: Uint8Array, markBytes: Bytes): Whose {
  const at = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  const mark = head.subarray(0, markBytes);
  if (at.length < markBytes || !at.subarray(0, markBytes).equals(mark)) return 'clear';
  const end = markBytes + NAME_BYTES;
  if (at.length < end) return 'damaged';
  if (head.length >= end && at.subarray(0, end).equals(head.subarray(0, end))) return 'ours';
  const name = at.subarray(markBytes, markBytes + NAME);
  return at.readUInt16BE(markBytes + NAME) === checkOf(mark, name) ? 'other' : 'damaged';
}
