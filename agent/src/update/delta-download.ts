/**
 * A blob from a patch of one that is here. The server only proposes: whatever it says, the bytes that come out are hashed
 * by the writer against the signed hash before anybody else sees them, and where anything is wrong with list, patch or
 * base, nothing stays and the whole blob is fetched.
 *
 * The patch goes from the network straight through the decoder, so that a deployment writes the new blob and nothing
 * else. A broken connection goes on inside of {@link Supply}; what is on the disk when the work itself breaks off is a
 * prefix of the blob, from which the whole one is fetched on: a patch is only used for a blob that has not begun.
 */
import type { OldFile } from '@skein/protocol/delta/apply.ts';
import { type DeltaOffer, MAX_OFFERS_BYTES, parseDeltaOffers } from '@skein/protocol/delta/offers.ts';
import { asSkeinError, type ErrorCode } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, type Sha256Hex } from '@skein/protocol/units.ts';
import type { Supply } from './blob-supply.ts';
import type { BlobSize } from './download-plan.ts';
import { Deferred } from './gate.ts';
import type { BlobReader, Fetcher, Slots } from './ports.ts';
import type { Rate } from './rate-cap.ts';
import { windowedFile } from './windowed-file.ts';

export interface Deltas {
  /** Patches that make this blob, as the server says. Never rejects: without a list the whole blob is fetched. */
  offers(sha256: Sha256Hex): Promise<readonly DeltaOffer[]>;
  /** Where old versions lie. */
  base: Slots;
  log: Log;
}

/** @param ask false: the server must not be asked now */
export const serverDeltas = (
  fetcher: Pick<Fetcher, 'document'>,
  base: Slots,
  log: Log,
  ask: () => boolean = () => true,
): Deltas => ({
  base,
  log,
  async offers(sha256) {
    if (!ask()) return [];
    try {
      const list = await fetcher.document(`/v1/deltas/${sha256}`, MAX_OFFERS_BYTES);
      return list ? parseDeltaOffers.parse(list, 'the list of patches').offers : [];
    } catch (thrown) {
      log.info('no list of patches', { sha256, error: asSkeinError(thrown).message });
      return [];
    }
  },
});

export interface DeltaWatch {
  stop(): boolean;
  rate: Rate | undefined;
  /** Throws when it must not go on now. */
  hold?: (() => void) | undefined;
  wrote(bytes: Bytes): void;
}

/** `done`: the blob is whole. `stopped`: nobody wants it any more. `none`: fetch the whole blob; nothing is left of a try. */
export type DeltaOutcome = 'done' | 'stopped' | 'none';

/** Not worth a question. */
const SMALL: Bytes = 16 * KIB;
/** What says nothing about the patch. */
const NOT_ITS_FAULT: readonly ErrorCode[] = ['DISK_FULL', 'DISK_FAILED', 'UNREACHABLE'];

/** The whole blob would not fare better now, or may not be fetched now either. */
const keepsPart = (thrown: unknown): boolean =>
  thrown instanceof Deferred || NOT_ITS_FAULT.includes(asSkeinError(thrown).code);

/** @throws as a download of the whole does: SkeinError DISK_*, UNREACHABLE, and what `hold` says; the part is kept */
export async function bringByDelta(
  { base, log, offers }: Deltas,
  supply: Supply,
  slots: Slots,
  blob: BlobSize,
  watch: DeltaWatch,
): Promise<DeltaOutcome> {
  if (blob.size < SMALL || (await slots.partSize(blob.sha256)) > 0) return 'none';
  const here = new Map((await base.list()).map(({ sha256, size }) => [sha256, size]));
  if (here.size === 0) return 'none';
  const [offer] = (await offers(blob.sha256))
    .filter(({ from, sizeBytes }) => here.has(from) && sizeBytes < blob.size)
    .sort((a, b) => a.sizeBytes - b.sizeBytes);
  const old = offer && (await base.reader(offer.from));
  if (!offer || !old) return 'none';
  const data = { sha256: blob.sha256, from: offer.from, patchBytes: offer.sizeBytes, wholeBytes: blob.size };
  try {
    const outcome = await fill(offer, oldFile(old, here.get(offer.from)!), supply, slots, blob, watch);
    if (outcome === 'done') log.info('made a blob from a patch', data);
    return outcome;
  } catch (thrown) {
    if (keepsPart(thrown)) throw thrown;
    const { code, message } = asSkeinError(thrown);
    log.warn('a patch is of no use; the whole blob is fetched', { ...data, code, error: message });
    return 'none';
  } finally {
    await old.close();
  }
}

const oldFile = (reader: BlobReader, size: Bytes): OldFile =>
  windowedFile(size, async (offset, into) => (await reader.read(offset, into.length, into)).length);

async function fill(
  offer: DeltaOffer,
  old: OldFile,
  supply: Supply,
  slots: Slots,
  { sha256, size }: BlobSize,
  { stop, rate, hold, wrote }: DeltaWatch,
): Promise<DeltaOutcome> {
  // Loaded when it is needed: a device starts without it.
  const { applyPatch } = await import('@skein/protocol/delta/apply.ts');
  const writer = await slots.writer(sha256, size);
  let made = 0;
  try {
    const patch = supply.bytes({ sha256: offer.patch, size: offer.sizeBytes, offset: 0, rate, stop });
    // The old blob is what its name says; if the disk lost some of it, the result's hash tells.
    for await (const chunk of applyPatch(patch, old, { oldHash: fromHex(offer.from), newSize: size })) {
      if (stop()) break;
      await writer.write(chunk);
      made += chunk.length;
      wrote(chunk.length);
      hold?.();
    }
    if (!stop()) {
      await writer.finish();
      return 'done';
    }
  } catch (thrown) {
    if (!stop()) {
      if (keepsPart(thrown)) await writer.abandon();
      else {
        // What is not the blob is removed by finishing it.
        await writer.finish().catch(() => undefined);
        wrote(-made);
      }
      throw thrown;
    }
  }
  await writer.abandon();
  return 'stopped';
}

const fromHex = (hex: Sha256Hex): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
