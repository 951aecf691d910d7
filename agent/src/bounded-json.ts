/** JSON that programs of this device and its sensors send, parsed only where what it becomes fits the device (`json-size.ts`). */
import { SkeinError } from '@skein/protocol/errors.ts';
import { fitsMemory } from '@skein/protocol/json-size.ts';

/** @throws SkeinError PAYLOAD_TOO_LARGE; SyntaxError when it is not JSON */
export function parseBounded(text: string): unknown {
  if (fitsMemory(text)) return JSON.parse(text);
  const what = `JSON of ${text.length} characters would take too much memory`;
  throw new SkeinError('PAYLOAD_TOO_LARGE', what, {
    fix: 'Send fewer values at once, or tensors as bytes: `binary_data_size` over HTTP, `raw_input_contents` over gRPC.',
  });
}
