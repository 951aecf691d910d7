/** A file read at any place through one window: patches walk the old file mostly from front to back, a block at a time. Pure. */
import type { OldFile } from '@skein/protocol/delta/apply.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, KIB } from '@skein/protocol/units.ts';

const WINDOW: Bytes = 256 * KIB;

/** @param readInto bytes from `offset` on into `buffer`, as many as come; 0 at the end */
export function windowedFile(
  size: Bytes,
  readInto: (offset: Bytes, buffer: Uint8Array) => Promise<Bytes>,
): OldFile {
  const window = new Uint8Array(Math.min(WINDOW, size));
  let from = 0;
  let held = 0;
  const fill = async (offset: Bytes): Promise<void> => {
    from = offset;
    const wanted = Math.min(window.length, size - offset);
    for (held = 0; held < wanted; ) {
      const got = await readInto(offset + held, window.subarray(held, wanted));
      if (got === 0) throw new SkeinError('DISK_FAILED', 'the old file became shorter while it was read');
      held += got;
    }
  };
  return {
    size,
    async read(offset, length) {
      if (offset < from || offset + length > from + held) await fill(offset);
      return window.subarray(offset - from, offset - from + length);
    },
  };
}
