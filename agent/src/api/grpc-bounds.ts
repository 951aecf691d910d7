/**
 * How many parts an inference request may have. A field takes two bytes on the wire and a hundred as an object, and a size
 * in a packed `shape` takes one and becomes a number: of 16 MiB that nobody sends V8's heap would run full, which ends the
 * process. Counted before anything is decoded; tensors' bytes are skipped, so a large picture costs a few steps.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import protobuf from 'protobufjs/light.js';

const MAX_PARTS = 4_096;
/** However many parts a shorter one has. */
const HARMLESS: Bytes = 16 * KIB;

/** Messages in a message by field number; `packed`: a list of numbers. */
interface Parts {
  readonly [field: number]: Parts | 'packed';
}

/** An entry of a map, whose value is a message of single values. */
const PARAMETER: Parts = { 2: {} };
const REQUEST: Parts = { 4: PARAMETER, 5: { 3: 'packed', 4: PARAMETER }, 6: { 2: PARAMETER } };
const LENGTH_DELIMITED = 2;

/** @param bytes of a ModelInferRequest. @throws SkeinError PAYLOAD_TOO_LARGE; RangeError, Error for torn bytes */
export function checkParts(bytes: Uint8Array): void {
  if (bytes.length <= HARMLESS) return;
  const reader = protobuf.Reader.create(bytes);
  let parts = 0;
  const count = (more: number): void => {
    parts += more;
    if (parts > MAX_PARTS)
      throw new SkeinError('PAYLOAD_TOO_LARGE', `the request has more than ${MAX_PARTS} fields`, {
        fix: 'Send each input once, its values in raw_input_contents.',
      });
  };
  const look = (inside: Parts, end: Bytes): void => {
    while (reader.pos < end) {
      const tag = reader.uint32();
      count(1);
      const { [tag >>> 3]: part } = inside;
      if (part === undefined || (tag & 7) !== LENGTH_DELIMITED) {
        reader.skipType(tag & 7);
        continue;
      }
      const stop = reader.uint32() + reader.pos;
      if (stop > end) throw new RangeError('a field is longer than its message');
      if (part === 'packed') count(stop - reader.pos);
      else look(part, stop);
      reader.pos = stop;
    }
  };
  look(REQUEST, bytes.length);
}
