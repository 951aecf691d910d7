import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';

export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint16Array
  | Int32Array
  | BigInt64Array;

/** Dense, row-major. `data.length` is the product of `dims`. float16 travels as its raw Uint16Array bits. */
export interface Tensor {
  type: TensorSpec['type'];
  dims: readonly number[];
  data: TensorData;
}

export type Tensors = Readonly<Record<string, Tensor>>;

export interface LoadRequest {
  /** The variant's file, already verified against the manifest. */
  path: string;
  /** Expected SHA-256; what was really read is {@link LoadedModel.sha256}. */
  sha256: Sha256Hex;
  sizeBytes: Bytes;
  /** Intra-op threads, explicit: onnxruntime's affinity call is refused under a hardened service. */
  threads: number;
  /** Execution providers in order of preference; the first that works is used. */
  providers: readonly string[];
}

export interface LoadedModel {
  /** SHA-256 of the very bytes handed to the runtime. */
  readonly sha256: Sha256Hex;
  readonly provider: string;
  readonly placement: 'inline' | 'worker' | 'sidecar';
  /** Why this provider and placement, for people. */
  readonly reason: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** @throws SkeinError TENSOR_INVALID, MODEL_CRASHED, MODEL_TIMEOUT, OVERLOADED */
  infer(inputs: Tensors, timeoutMs?: Millis): Promise<Tensors>;
  close(): Promise<void>;
}

/** Something that can run models: onnxruntime in this process, or a sidecar over the Open Inference Protocol. */
export interface Backend {
  readonly name: string;
  /** @throws SkeinError MODEL_INVALID, MODEL_CRASHED, BLOB_MISMATCH */
  load(request: LoadRequest): Promise<LoadedModel>;
}
