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
  const fill = async (offset: Bytes, length: Bytes): Promise<void> => {
    // After a jump no more is read than asked for, then twice as much each time: a patch that jumps about byte by byte
    // must not make a window of each.
    const ahead = offset === from + held ? Math.max(length, 2 * held) : length;
    const wanted = Math.min(ahead, window.length, size - offset);
    from = offset;
    for (held = 0; held < wanted; ) {
      const got = await readInto(offset + held, window.subarray(held, wanted));
      if (got === 0) throw new SkeinError('DISK_FAILED', 'the old file became shorter while it was read');
      held += got;
    }
  };
  return {
    size,
    async read(offset, length) {
      if (offset < from || offset + length > from + held) await fill(offset, length);
      return window.subarray(offset - from, offset - from + length);
    },
  };
}
