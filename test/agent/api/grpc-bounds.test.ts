import { checkParts } from '@skein/agent/api/grpc-bounds.ts';
import { describe, expect, it } from 'vitest';
import { encodeRequest } from './grpc-client.ts';
import { simple } from './grpc-requests.ts';

const MIB = 1 << 20;
const EMPTY = 0;
const field = (number: number, content: Uint8Array): Buffer => {
  const length = content.length;
  const varint: number[] = [];
  for (let left = length; ; left >>>= 7) {
    varint.push(left > 127 ? (left & 127) | 128 : left);
    if (left <= 127) break;
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint]), content]);
};
const parts = (number: number) => Buffer.alloc(MIB, Buffer.from([(number << 3) | 2, EMPTY]));
const parameters = parts(4);
const value = Buffer.alloc(MIB, Buffer.from([2 << 3, 1]));

const MANY: Record<string, Buffer> = {
  inputs: parts(5),
  outputs: parts(6),
  'raw contents': parts(7),
  parameters,
  'fields that nobody knows': parts(15),
  'parameters of an input': field(5, parameters),
  'sizes of a shape': field(5, field(3, Buffer.alloc(MIB, 1))),
  'parameters of an output': field(6, parts(2)),
  'values of a parameter': field(4, field(2, value)),
};

describe('an inference request over gRPC', () => {
  it.each(Object.entries(MANY))('is refused unread with too many %s', (_, bytes) => {
    expect(() => checkParts(bytes)).toThrow(expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }));
  });

  it('may have tensors of any length', () => {
    const tensor = Buffer.alloc(12 * MIB, 0x2a);
    expect(() =>
      checkParts(encodeRequest('ModelInfer', simple({ raw_input_contents: [tensor, tensor] }))),
    ).not.toThrow();
    expect(() => checkParts(field(5, field(5, tensor)))).not.toThrow();
  });

  it('is refused when a field ends behind its message', () => {
    const torn = Buffer.concat([field(5, parts(3)).subarray(0, 40_000)]);
    expect(() => checkParts(torn)).toThrow(/longer than its message/);
  });
});
