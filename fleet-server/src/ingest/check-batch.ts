/** What must hold of a message before the store is asked: it is a batch, of this device and stream, and signed by it. */
import type { Codecs } from '@skein/protocol/batch/body.ts';
import { takeNonce } from '@skein/protocol/batch/nonce.ts';
import { openBatch, readRecords, verifyBatch } from '@skein/protocol/batch/sealed.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import { batchChannel } from '@skein/protocol/topics.ts';
import type { Waiting } from './queue.ts';
import type { Verified } from './run-commit.ts';

export interface CheckDeps {
  fleet: string;
  verify: Verify;
  /** Default: the portable ones, which are slow, and no zstd. */
  codecs?: Codecs;
}

/**
 * @param key report key of the device that the topic names; undefined: there is none, or it was revoked
 * @throws SkeinError BATCH_INVALID, BATCH_FORGED
 */
export function checkBatch(
  { device, channel, payload }: Waiting,
  key: Uint8Array | undefined,
  { fleet, verify, codecs }: CheckDeps,
): Verified {
  if (key === undefined) throw new SkeinError('BATCH_FORGED', `${device} is not enrolled or was revoked`);
  const { batch: bytes, nonce } = takeNonce(payload);
  const batch = openBatch(bytes);
  const { header } = batch;
  if (header.device !== device || header.fleet !== fleet || batchChannel(header.stream) !== channel) {
    const claim = `a batch of ${header.device}/${header.stream} on ${device}/${channel}`;
    throw new SkeinError('BATCH_FORGED', claim);
  }
  verifyBatch(batch, verify, key);
  return { batch, bytes, nonce, records: readRecords(batch, codecs) };
}
