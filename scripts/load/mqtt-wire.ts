/**
 * As much of MQTT 3.1.1 as a device's uplink needs, on bare bytes: a client library would cost the load more than it
 * measures. CONNECT, SUBSCRIBE, PUBLISH (QoS 1) out; CONNACK, SUBACK, PUBACK, PUBLISH in. Packets of up to 256 MB.
 */

/** What came; everything else a server may send is of no interest to a load. */
export type Packet =
  | { kind: 'connack'; accepted: boolean }
  | { kind: 'suback' }
  | { kind: 'puback'; id: number }
  | { kind: 'publish'; topic: string; payload: Buffer; id: number | undefined };

function framed(first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = [first];
  let left = body.length;
  do {
    head.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from(head), body]);
}

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const text = (value: string): Buffer => Buffer.concat([u16(Buffer.byteLength(value)), Buffer.from(value)]);

/** Clean session, keepalive of 10 minutes. */
export const connectPacket = (clientId: string): Buffer =>
  framed(0x10, text('MQTT'), Buffer.from([4, 2]), u16(600), text(clientId));
export const subscribePacket = (topic: string): Buffer => framed(0x82, u16(1), text(topic), Buffer.from([1]));
export const publishPacket = (topic: string, id: number, payload: Uint8Array): Buffer =>
  framed(0x32, text(topic), u16(id), Buffer.from(payload));
export const pubackPacket = (id: number): Buffer => framed(0x40, u16(id));

/** Feeds on chunks as they come, gives whole packets. */
export function createReader(take: (packet: Packet) => void): (chunk: Buffer) => void {
  let kept: Buffer = Buffer.alloc(0);
  return (chunk) => {
    kept = kept.length > 0 ? Buffer.concat([kept, chunk]) : chunk;
    for (let frame = frameOf(kept); frame; frame = frameOf(kept)) {
      const packet = packetOf(kept[0]!, kept.subarray(frame.from, frame.to));
      kept = kept.subarray(frame.to);
      if (packet) take(packet);
    }
  };
}

function frameOf(bytes: Buffer): { from: number; to: number } | undefined {
  let length = 0;
  for (let at = 1; at < bytes.length && at <= 4; at++) {
    length += (bytes[at]! & 0x7f) * 128 ** (at - 1);
    if (bytes[at]! & 0x80) continue;
    const to = at + 1 + length;
    return to <= bytes.length ? { from: at + 1, to } : undefined;
  }
  return undefined;
}

function packetOf(first: number, body: Buffer): Packet | undefined {
  switch (first >> 4) {
    case 2:
      return { kind: 'connack', accepted: body[1] === 0 };
    case 9:
      return { kind: 'suback' };
    case 4:
      return { kind: 'puback', id: body.readUInt16BE(0) };
    case 3: {
      const length = body.readUInt16BE(0);
      const topic = body.toString('utf8', 2, 2 + length);
      const sure = (first & 0x06) > 0;
      const at = 2 + length + (sure ? 2 : 0);
      const id = sure ? body.readUInt16BE(2 + length) : undefined;
      return { kind: 'publish', topic, payload: body.subarray(at), id };
    }
    default:
      return undefined;
  }
}
