/**
 * A guard in front of an MQTT client: a PUBLISH longer than the limit is cut to just beyond it, so that the client sees
 * (and, at QoS 1, acknowledges) a message that is too long and never holds more of it. MQTT 3.1.1, 2.2.3 and 3.3: byte 0 is
 * the type, 1–4 bytes of remaining length follow; a PUBLISH goes on with topic, packet id and payload, so cutting its end
 * cuts the payload.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Bytes } from '@skein/protocol/units.ts';

const PUBLISH = 3;
/** Topic with its length, and the packet id: what stands before the payload is at most this. */
const MAX_BEFORE: Bytes = 65_535 + 2 + 2;

/** @returns what to hand on of each chunk. */
export function packetLimit(maxBytes: Bytes): (chunk: Uint8Array) => Uint8Array[] {
  let header: number[] = [];
  /** Of the packet under way: to hand on, and to leave out after that. */
  let pass = 0;
  let skip = 0;

  /** The header that is handed on, once it is whole. */
  const begin = (byte: number): Uint8Array | undefined => {
    header.push(byte);
    if (header.length === 1 || (byte & 0x80 && header.length < 5)) return undefined;
    const length = header.slice(1).reduce((sum, each, i) => sum + (each & 0x7f) * 128 ** i, 0);
    const cut = header[0]! >> 4 === PUBLISH && length > maxBytes;
    pass = cut ? maxBytes + 1 : length;
    skip = length - pass;
    const whole = Uint8Array.of(header[0]!, ...lengthBytes(pass));
    header = [];
    return whole;
  };

  return (chunk) => {
    const out: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (pass > 0) {
        out.push(chunk.subarray(at, at + pass));
        const taken = Math.min(pass, chunk.length - at);
        pass -= taken;
        at += taken;
      } else if (skip > 0) {
        const taken = Math.min(skip, chunk.length - at);
        skip -= taken;
        at += taken;
      } else {
        const whole = begin(chunk[at++]!);
        if (whole) out.push(whole);
      }
    }
    return out;
  };
}

function lengthBytes(length: number): number[] {
  const bytes: number[] = [];
  let rest = length;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

/** @param maxPayload a longer one arrives as more than this, and as little more as its topic leaves. */
export function limitedStream(socket: Socket, maxPayload: Bytes): Duplex {
  const limit = packetLimit(maxPayload + MAX_BEFORE);
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk) => {
    for (const part of limit(chunk)) if (!stream.push(part)) socket.pause();
  });
  socket.on('end', () => stream.push(null));
  socket.on('error', (error) => stream.destroy(error));
  socket.on('close', () => stream.destroy());
  return stream;
}
