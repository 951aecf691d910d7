/** The thread that makes one patch: two files in, a patch and its hash out, or null when it would save too little. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { makePatch } from '@skein/protocol/delta/make.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';

export interface DeltaJob {
  old: Uint8Array;
  now: Uint8Array;
}
export type DeltaAnswer = { patch: Uint8Array; sha256: Sha256Hex } | null;

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** A patch that saves less is not worth a device's time. */
const WORTH = 0.9;

const { old, now } = workerData as DeltaJob;
const pieces = makePatch(old, now, sha256);
const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
let answer: DeltaAnswer = null;
if (size <= WORTH * now.length) {
  const patch = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    patch.set(piece, at);
    at += piece.length;
  }
  answer = { patch, sha256: sha256(patch).toString('hex') };
}
parentPort!.postMessage(answer);
