import type { ErrorCode } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Gather } from './turn-gatherer.ts';

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
  /** Which backend runs it; absent: {@link IN_PROCESS}. */
  backend?: string;
  /** The model's name, for backends that serve it under one; and how its file is written (`onnx`, `plan`, `hef`). */
  model?: string;
  format?: string;
  /** Intra-op threads, explicit: onnxruntime's affinity call is refused under a hardened service. */
  threads: number;
  /** Execution providers in order of preference; the first that works is used. */
  providers: readonly string[];
  /** As configured for this model; absent or `auto`: measured. */
  placement?: Placement | undefined;
  /** Of the model store, where it is encrypted. */
  blobKey?: Uint8Array | undefined;
  /** Nobody waits for its answers: its thread, if it has one, yields to all others. */
  background?: boolean | undefined;
}

export type Placement = 'auto' | 'inline' | 'worker';

/** onnxruntime in this process; manifests of early tools call it `onnx`. */
export const IN_PROCESS: readonly string[] = ['onnxruntime', 'onnx'];

/**
 * Who vouches for {@link LoadedModel.sha256}. runtime: this process hashed the bytes that it gave the runtime. sidecar:
 * the sidecar says that it hashed what it loaded. sent: we hashed the bytes that we sent, the server says nothing.
 */
export type Proof = 'runtime' | 'sidecar' | 'sent';

/** What a backend says of itself. `fault`: why it can load nothing now. */
export interface BackendFacts {
  /** Hardware, as variants name it; null: it does not say. */
  target: string | null;
  /** Version of the vendor's runtime; null: it does not say. */
  sdk: string | null;
  fault: { code: ErrorCode; detail: string } | null;
}

/** Called while a backend compiles a model for its hardware, which may take minutes. Share done, 0 to 1; null: unknown. */
export type Compiling = (share: number | null) => void;

export interface LoadedModel {
  /** SHA-256 of the very bytes handed to the runtime. */
  readonly sha256: Sha256Hex;
  /** Absent: `runtime`. */
  readonly proof?: Proof;
  readonly provider: string;
  readonly placement: 'inline' | 'worker' | 'sidecar';
  /** Why this provider and placement, for people. */
  readonly reason: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  /** Runs that may be under way together; absent: one. */
  readonly parallel?: number;
  /**
   * No more than {@link parallel} at a time: the engine's queue sees to it. A run longer than `timeoutMs` is ended where it can be.
   * @throws SkeinError TENSOR_INVALID, MODEL_CRASHED, MODEL_TIMEOUT, OVERLOADED, BACKEND_*, DRIVER_MISMATCH
   */
  infer(inputs: Tensors, timeoutMs?: Millis): Promise<Tensors>;
  /** Chooses the moment of a run. Present where a run holds the caller's thread. */
  readonly gather?: Gather;
  /** Of the latest run, in the runtime alone: what is left of an inference is the way there and back. Where it is known. */
  readonly computeMs?: Millis;
  close(): Promise<void>;
}

/** Something that can run models: onnxruntime in this process, or a sidecar over the Open Inference Protocol. */
export interface Backend {
  readonly name: string;
  /** Never rejects: a backend that is not there says so. Absent: it runs whatever names it. */
  facts?(): Promise<BackendFacts>;
  /** @throws SkeinError MODEL_INVALID, MODEL_CRASHED, BLOB_MISMATCH, BACKEND_*, DRIVER_MISMATCH */
  load(request: LoadRequest, compiling?: Compiling): Promise<LoadedModel>;
}
