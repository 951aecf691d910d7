/**
 * JSON from outside, parsed only where what it becomes fits a small device. Few bytes can become many: `{},` is three and an
 * object of 56, and V8 does not fail when its heap is full, it ends the process; on a board of 512 MB that heap has 128. So
 * what a text becomes is estimated from its characters, with the sizes that V8's objects have on 64 bits. Signs inside of
 * strings are counted too: that is too much of what nobody sends.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB } from '@skein/protocol/units.ts';

/** Three million numbers. */
const MAX_PARSED: Bytes = 48 * MIB;

/** An object and an array with their headers, a key's place, half a string, a value's place and half a boxed number. */
const COSTS: Readonly<Record<string, Bytes>> = { '{': 64, '[': 64, ':': 32, '"': 16, ',': 16 };
const COST = new Uint8Array(128);
for (const sign in COSTS) COST[sign.charCodeAt(0)] = COSTS[sign]!;
/** No shorter text reaches the limit. */
const HARMLESS = MAX_PARSED / Math.max(...COST);

function parsedSize(text: string): Bytes {
  let size = 0;
  for (let i = 0; i < text.length; i++) size += COST[text.charCodeAt(i)] ?? 0;
  return size;
}

/** @throws SkeinError PAYLOAD_TOO_LARGE; SyntaxError when it is not JSON */
export function parseJson(text: string): unknown {
  if (text.length > HARMLESS && parsedSize(text) > MAX_PARSED)
    throw new SkeinError(
      'PAYLOAD_TOO_LARGE',
      `JSON of ${text.length} characters would take too much memory`,
      {
        fix: 'Send fewer values at once, or tensors as bytes: `binary_data_size` over HTTP, `raw_input_contents` over gRPC.',
      },
    );
  return JSON.parse(text);
}
