/** The 32 bytes of a key, as it may be written down: raw, hex or base64. Pure. */
import type { Bytes } from '@skein/protocol/units.ts';
import { keyNeeded } from './key-port.ts';

export const KEY_BYTES: Bytes = 32;
/** A key with room for line ends; more is something else. */
export const MAX_KEY_TEXT: Bytes = 256;

const FIX =
  'Make one: `head -c 32 /dev/urandom > KEY`, or as text `openssl rand -hex 32` or `openssl rand -base64 32`.';

/**
 * 32 bytes are raw, but for 32 hex digits, which are half a key; anything else is text with white space around it.
 * Never with what it holds in the message. @throws SkeinError DATA_KEY_NEEDED
 */
export function keyBytes(given: Uint8Array, from: string): Uint8Array {
  const text = new TextDecoder('latin1').decode(given);
  if (given.length === KEY_BYTES && !/^[0-9a-f]+$/i.test(text)) return strong(given.slice(), from);
  const key = fromHex(text.trim()) ?? fromBase64(text.trim());
  if (key?.length === KEY_BYTES) return strong(key, from);
  throw keyNeeded(
    `${from} gives no key: ${given.length} bytes that are neither 32 raw ones nor hex or base64 of 32`,
    FIX,
  );
}

/** A file that was made and never filled. */
function strong(key: Uint8Array, from: string): Uint8Array {
  if (new Set(key).size > 4) return key;
  throw keyNeeded(`${from} gives no key: its bytes are all alike`, FIX);
}

const fromHex = (text: string): Uint8Array | undefined =>
  /^[0-9a-f]{64}$/i.test(text)
    ? Uint8Array.from(text.match(/../g)!, (digits) => Number.parseInt(digits, 16))
    : undefined;

const fromBase64 = (text: string): Uint8Array | undefined =>
  /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
    ? Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/').replace(/=$/, '')), (c) =>
        c.charCodeAt(0),
      )
    : undefined;
