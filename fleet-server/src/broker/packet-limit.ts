/**
 * Bounds an MQTT byte stream before a parser buffers it: reads only fixed headers (one byte, then the remaining
 * length as 1–4 bytes of 7 bits, MQTT 3.1.1 section 2.2.3) and counts the rest away.
 */
import type { Bytes } from '@skein/protocol/units.ts';

/** Returns false once a packet announces more than `maxBytes`, or a length that is not one. */
export function createPacketLimit(maxBytes: Bytes): (chunk: Uint8Array) => boolean {
  /** Body bytes still to come; undefined while a header is read. */
  let body: number | undefined;
  let lengthAt = -1;
  let length = 0;

  const readHeaderByte = (byte: number): boolean => {
    if (lengthAt < 0) {
      lengthAt = 0;
      length = 0;
      return true;
    }
    length += (byte & 0x7f) * 128 ** lengthAt;
    lengthAt += 1;
    if (byte & 0x80) return lengthAt < 4;
    lengthAt = -1;
    body = length;
    return length <= maxBytes;
  };

  return (chunk) => {
    for (let at = 0; at < chunk.length; ) {
      if (body === undefined || body === 0) {
        body = undefined;
        if (!readHeaderByte(chunk[at]!)) return false;
        at += 1;
      } else {
        const taken = Math.min(body, chunk.length - at);
        body -= taken;
        at += taken;
      }
    }
    return true;
  };
}
