/** What the main thread and the worker say to each other, besides shared memory. */
import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { LoadRequest } from './backend.ts';
import type { Layout } from './tensors.ts';

export interface WorkerStart {
  /** One Int32: the doorbell. */
  control: SharedArrayBuffer;
  request: LoadRequest;
  port: MessagePort;
}

export type ToWorker = { kind: 'inputs'; layout: Layout; buffer: SharedArrayBuffer } | { kind: 'close' };

export interface Loaded {
  kind: 'loaded';
  sha256: Sha256Hex;
  provider: string;
  reason: string;
  inputs: readonly TensorSpec[];
  outputs: readonly TensorSpec[];
  p99Ms: Millis | undefined;
}

export type FromWorker =
  | Loaded
  | { kind: 'outputs'; layout: Layout; buffer: SharedArrayBuffer }
  /** Outputs lie where they lay before. */
  | { kind: 'same' }
  | { kind: 'failed'; code: ErrorCode; message: string; fix: string | undefined };
