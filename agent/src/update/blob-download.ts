/** Brings blobs onto the disk: what is there stays, what is half there goes on, and no byte past the size is taken. */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Supply } from './blob-supply.ts';
import { bringByDelta, type DeltaOutcome, type Deltas } from './delta-download.ts';
import { type BlobSize, type OnDisk, planDownload } from './download-plan.ts';
import type { Flight, Flights } from './flights.ts';
import type { BlobWriter, Slots } from './ports.ts';
import type { Rate } from './rate-cap.ts';

export interface DownloadWatch {
  /** True: nobody wants this any more; parts are kept. */
  stale(): boolean;
  /** Lower than the device's own cap, if the order says so. */
  rate?: Rate;
  /** Throws when it must not go on now; the part is kept. */
  hold?(): void;
  progress(doneBytes: Bytes, totalBytes: Bytes): void;
}

export interface Sources {
  supply: Supply;
  flights: Flights;
  /** Patches of what is here; absent: every blob is fetched whole. */
  deltas?: Deltas | undefined;
}

/** False when it became stale. @throws SkeinError of {@link Supply} and {@link Slots}, and what `hold` says */
export async function downloadBlobs(
  from: Sources,
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
  for (const blob of plan.steps) {
    const wrote = (bytes: Bytes) => {
      done += bytes;
      watch.progress(done, plan.totalBytes);
    };
    if (!(await bring(from, slots, blob, watch, wrote))) return false;
  }
  return !watch.stale();
}

/** One blob, by the one download of it on this device: whoever finds another under way waits for that first. */
async function bring(
  from: Sources,
  slots: Slots,
  blob: BlobSize,
  watch: DownloadWatch,
  wrote: (bytes: Bytes) => void,
): Promise<boolean> {
  const { sha256, size } = blob;
  for (let other = from.flights.of(sha256); other; other = from.flights.of(sha256)) {
    while (!other.over && !watch.stale()) await other.changed();
    if (watch.stale()) return false;
    if (await slots.has(sha256)) return true;
  }
  return from.flights.run(sha256, size, async (flight) => {
    if (await slots.has(sha256)) return true;
    watch.hold?.();
    const outcome = await patched(from, slots, blob, watch, flight, wrote);
    if (outcome !== 'none') return outcome === 'done';
    return take(from.supply, slots, blob, watch, flight, wrote);
  });
}

/** From a patch, when there is one for this blob. */
async function patched(
  { deltas, supply }: Sources,
  slots: Slots,
  blob: BlobSize,
  { stale, rate, hold }: DownloadWatch,
  flight: Flight,
  wrote: (bytes: Bytes) => void,
): Promise<DeltaOutcome> {
  if (!deltas) return 'none';
  let made = 0;
  return bringByDelta(deltas, supply, slots, blob, {
    stop: stale,
    rate,
    hold,
    wrote: (bytes) => {
      made += bytes;
      flight.advance(made);
      wrote(bytes);
    },
  });
}

/**
 * Again from the first byte while its bytes hash wrong and there is someone else to ask. Where it went on from a part that
 * was there, nobody has lied for certain: power may have torn it, as often as there are power cuts.
 */
async function take(
  supply: Supply,
  slots: Slots,
  blob: BlobSize,
  watch: DownloadWatch,
  flight: Flight,
  wrote: (bytes: Bytes) => void,
): Promise<boolean> {
  for (;;) {
    if (watch.stale()) return false;
    watch.hold?.();
    const writer = await slots.writer(blob.sha256, blob.size);
    const resumed = writer.offset > 0;
    flight.advance(writer.offset);
    try {
      return await fill(supply, writer, blob, watch, (bytes) => {
        flight.advance(writer.offset);
        wrote(bytes);
      });
    } catch (thrown) {
      if (asSkeinError(thrown).code !== 'BLOB_MISMATCH') throw thrown;
      // Each doubt leaves out at least one source, and nothing is left of a part, so this ends.
      if (!supply.doubt(blob.sha256) && !resumed) throw thrown;
      flight.advance(0);
      wrote(-blob.size);
    }
  }
}

async function fill(
  supply: Supply,
  writer: BlobWriter,
  { sha256, size }: BlobSize,
  watch: DownloadWatch,
  wrote: (bytes: Bytes) => void,
): Promise<boolean> {
  let finishing = false;
  const { rate, stale: stop } = watch;
  try {
    if (writer.offset < size) {
      for await (const chunk of supply.bytes({ sha256, size, offset: writer.offset, rate, stop })) {
        if (stop()) break;
        if (writer.offset + chunk.length > size) {
          throw new SkeinError('BLOB_TOO_LARGE', `${sha256}: more than the ${size} bytes that were signed`);
        }
        await writer.write(chunk);
        wrote(chunk.length);
        if (writer.offset === size) break;
        watch.hold?.();
      }
    }
    if (stop()) return false;
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
