/** Brings blobs onto the disk: what is there stays, what is half there goes on, and no byte past the size is taken. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { type BlobSize, type OnDisk, planDownload } from './download-plan.ts';
import type { BlobWriter, Fetcher, Slots } from './ports.ts';

export interface DownloadWatch {
  /** True: nobody wants this any more; parts are kept. */
  stale(): boolean;
  progress(doneBytes: Bytes, totalBytes: Bytes): void;
}

/** False when it became stale. @throws SkeinError of {@link Fetcher} and {@link Slots} */
export async function downloadBlobs(
  fetcher: Fetcher,
  slots: Slots,
  blobs: readonly BlobSize[],
  watch: DownloadWatch,
): Promise<boolean> {
  const found = new Map<string, OnDisk>();
  for (const { sha256 } of blobs) {
    const complete = await slots.has(sha256);
    found.set(sha256, { complete, part: complete ? 0 : await slots.partSize(sha256) });
  }
  const plan = planDownload(blobs, (sha256) => found.get(sha256) ?? { complete: false, part: 0 });
  let done = plan.doneBytes;
  for (const { sha256, size } of plan.steps) {
    if (watch.stale()) return false;
    const writer = await slots.writer(sha256, size);
    const whole = await fill(fetcher, writer, { sha256, size }, watch, (bytes) => {
      done += bytes;
      watch.progress(done, plan.totalBytes);
    });
    if (!whole) return false;
  }
  return !watch.stale();
}

async function fill(
  fetcher: Fetcher,
  writer: BlobWriter,
  { sha256, size }: BlobSize,
  watch: DownloadWatch,
  wrote: (bytes: Bytes) => void,
): Promise<boolean> {
  let finishing = false;
  try {
    if (writer.offset < size) {
      for await (const chunk of fetcher.blob(sha256, writer.offset, size)) {
        if (watch.stale()) break;
        if (writer.offset + chunk.length > size) {
          throw new SkeinError('BLOB_TOO_LARGE', `${sha256}: more than the ${size} bytes that were signed`);
        }
        await writer.write(chunk);
        wrote(chunk.length);
        if (writer.offset === size) break;
      }
    }
    if (watch.stale()) return false;
    if (writer.offset < size) {
      throw new SkeinError('UNREACHABLE', `${sha256}: ended after ${writer.offset} of ${size} bytes`);
    }
    finishing = true;
    await writer.finish();
    return true;
  } finally {
    if (!finishing) await writer.abandon();
  }
}
