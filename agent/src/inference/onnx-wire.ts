/**
 * What the main thread and the worker say to each other, besides the tensors in shared memory.
 *
 * Control: Int32 0 (REQUESTS) counts what the main thread asked and 1 (ANSWERS) what the worker answered; each side sleeps
 * on the other's counter. 2 (ASKED) and 3 (TOLD) are 1 when the latest request, or answer, has a message on the port, put
 * there before its counter moved, so it can be read without waiting: tensors that lie where they lay before need none.
 * Float64 2 (COMPUTE) is how long the runtime took for the latest answer, in milliseconds.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { LoadRequest } from './backend.ts';
import type { Region } from './shared-tensors.ts';

export const REQUESTS = 0;
export const ANSWERS = 1;
export const ASKED = 2;
export const TOLD = 3;
export const COMPUTE = 2;
export const CONTROL_BYTES = 24;

export interface WorkerStart {
  control: SharedArrayBuffer;
  request: LoadRequest;
  port: MessagePort;
}

export type ToWorker = { kind: 'inputs'; region: Region } | { kind: 'close' };

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
  | { kind: 'outputs'; region: Region }
  | { kind: 'failed'; code: ErrorCode; message: string; fix: string | undefined };
