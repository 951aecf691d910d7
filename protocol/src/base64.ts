/** Base64 (RFC 4648 §4, padded) for bytes inside JSON, where no Buffer may be: the web's own functions, made strict. */
import { SkeinError } from './errors.ts';

/** Arguments of one call: the stack bounds them. */
const AT_ONCE = 8192;

export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let from = 0; from < bytes.length; from += AT_ONCE)
    text += String.fromCharCode(...bytes.subarray(from, from + AT_ONCE));
  return btoa(text);
}

/** @throws SkeinError MESSAGE_INVALID for anything but the one padded spelling of some bytes */
export function fromBase64(text: string): Uint8Array {
  const binary = decoded(text);
  // The web's decoder forgives white space, missing padding and loose bits; one spelling comes back the same.
  if (binary === undefined || btoa(binary) !== text) throw invalid();
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

function decoded(text: string): string | undefined {
  try {
    return atob(text);
  } catch {
    return undefined;
  }
}

const invalid = () => new SkeinError('MESSAGE_INVALID', 'not base64');
