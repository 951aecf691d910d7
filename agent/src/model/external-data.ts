/** Where an initializer's bytes are when they are not in the file: TensorProto.external_data, key and value. Pure. */
import protobuf from 'protobufjs/light.js';
import type { TensorProto } from './graph.ts';

/** Field 1 is the key, field 2 the value (StringStringEntryProto). */
function entryOf(bytes: Uint8Array): [string, string] {
  const reader = protobuf.Reader.create(bytes);
  const entry: [string, string] = ['', ''];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) entry[0] = reader.string();
    else if (tag >>> 3 === 2) entry[1] = reader.string();
    else reader.skipType(tag & 7);
  }
  return entry;
}

/** The name of the other file, relative to the model's; undefined when the bytes are inside or nobody can tell. */
export function externalFile({ dataLocation, externalData }: TensorProto): string | undefined {
  if (dataLocation !== 1) return undefined;
  try {
    return new Map((externalData ?? []).map(entryOf)).get('location') ?? '';
  } catch {
    return '';
  }
}
