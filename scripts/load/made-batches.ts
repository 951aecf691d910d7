/** Sealed batches of predictions as an agent makes them at 1 Hz, one chain per device, going on where it was left. */
import { type BatchHeader, NO_HEAD } from '@skein/protocol/batch/header.ts';
import { chainHead, sealBatch } from '@skein/protocol/batch/sealed.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';

export const RECORDS = 50;
export const START = 1_763_812_345_678;

/** One a second. */
export const predictionAt = (i: number): PredictionRecord => ({
  ts: START + i * 1000,
  mono: i * 1000,
  boot: '0123456789abcdef',
  source: 'host',
  model: 'host',
  version: '1.0.0',
  label: i % 50 === 0 ? 'unusual' : 'usual',
  score: Math.fround(((i * 104_729) % 1_000_003) / 1_000_003),
  alarm: 0,
  latency_us: 300 + ((i * 31) % 200),
});

export interface MadeBatch {
  bytes: Uint8Array;
  head: Sha256Hex;
  /** Last sequence number of it. */
  upTo: number;
}

/** A source of batches of one device that never ends. */
export function batchesOf(fleet: string, device: string, signer: Signer, epoch: string): () => MadeBatch {
  let seq = 0;
  let prev = NO_HEAD;
  return () => {
    const header: BatchHeader = {
      v: 1,
      fleet,
      device,
      stream: 'predictions',
      epoch,
      ordinal: 1,
      seq,
      n: RECORDS,
      prev,
      observed: RECORDS,
      kept: RECORDS,
      gaps: [],
      bridge: null,
    };
    const records = Array.from({ length: RECORDS }, (_, i) => predictionAt(header.seq + i));
    const bytes = sealBatch(header, records, signer);
    prev = chainHead(bytes);
    seq += RECORDS;
    return { bytes, head: prev, upTo: seq - 1 };
  };
}
