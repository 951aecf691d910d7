/**
 * The peer: an NDATA payload of Sparkplug B 3.0 as its users send it. Metrics by alias (names only at birth), float where
 * that loses nothing, and only what changed; a time, a sequence number.
 */
import protobuf from 'protobufjs';

const { root } = protobuf.parse(`syntax = "proto2";
message Payload {
  message Metric {
    optional string name = 1; optional uint64 alias = 2; optional uint64 timestamp = 3; optional uint32 datatype = 4;
    oneof value { float float_value = 12; double double_value = 13; }
  }
  optional uint64 timestamp = 1; repeated Metric metrics = 2; optional uint64 seq = 3;
}`);
const Payload = root.lookupType('Payload');

const FLOAT = 9;
const DOUBLE = 10;

/** One edge node: what it said last, and its sequence of 0 … 255. */
export function sparkplugNode(): (ts: number, metrics: Readonly<Record<string, number>>) => Uint8Array {
  const said = new Map<string, number>();
  let seq = 0;
  return (ts, metrics) => {
    const changed = Object.entries(metrics).filter(([name, value]) => said.get(name) !== value);
    const aliases = Object.keys(metrics);
    const list = changed.map(([name, value]) => {
      said.set(name, value);
      const alias = aliases.indexOf(name);
      const single = Math.fround(value) === value;
      return single
        ? { alias, datatype: FLOAT, floatValue: value }
        : { alias, datatype: DOUBLE, doubleValue: value };
    });
    seq = (seq + 1) % 256;
    return Payload.encode(Payload.create({ timestamp: ts, metrics: list, seq })).finish();
  };
}
