/** What the update machine's shell needs from the world. Every port has a simulated twin. */
import type { Manifest, Variant } from '@skein/protocol/manifest.ts';
import type { ModelTarget, Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { ReleaseFloors } from '@skein/protocol/trust/director.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { ChartVerdict } from '../drift/verdicts.ts';
import type { Compiling, Proof } from '../inference/backend.ts';
import type { Figure } from './variants.ts';

/** Reads named documents and blobs from the server (mTLS in the product). */
export interface Fetcher {
  /** A small document, at most `maxBytes`. undefined: it does not exist. @throws SkeinError UNREACHABLE, PAYLOAD_TOO_LARGE */
  document(path: string, maxBytes: Bytes): Promise<Uint8Array | undefined>;
  blob: BlobSource['blob'];
}

/** Whoever may have a blob. Never believed: the bytes are hashed where they are written down. */
export interface BlobSource {
  /** For people. */
  readonly name: string;
  /** `site`: in the local network, so it costs nothing on the uplink. */
  readonly kind: 'site' | 'mirror' | 'server';
  /**
   * Bytes [offset, end) of a blob of `size` bytes, in order; `end` absent: to the end. The consumer stops reading when it
   * has enough.
   * @throws SkeinError UNREACHABLE (ask again; `data.slow`: it trickles), DOWNLOAD_FAILED (it has another blob or none)
   */
  blob(sha256: Sha256Hex, offset: Bytes, size: Bytes, end?: Bytes): AsyncIterable<Uint8Array>;
}

/** An order on which director and image repository agree, for this device's hardware, at or above its floor. */
export interface AgreedOrder {
  order: Order;
  target: { path: string; sizeBytes: Bytes; sha256: Sha256Hex };
  custom: ModelTarget;
}

/** A release on this device. */
export interface InstalledVersion {
  model: string;
  version: string;
  manifestSha256: Sha256Hex;
}

/** One that may not run again, and why; see barred.ts for what becomes of it. */
export interface Barred extends InstalledVersion {
  code: 'MODEL_REVOKED' | 'BELOW_FLOOR';
  message: string;
}

/** What the device may believe after the last successful refresh. */
export interface TrustedView {
  directorVersion: number;
  orders: AgreedOrder[];
  /** Orders that were refused and why (stable error code); those that no later refresh can mend are over and reported. */
  refused: { order: Order; code: string; message: string; final?: true }[];
  /** Installed versions that offline keys speak against. */
  barred?: Barred[];
  ackKeys: string[];
  /** Monotonic and wall time of the last complete refresh. */
  refreshedMono: Millis;
  refreshedAt: Millis;
}

/** What a start must know before it loads a model. */
export interface SpokenAgainst {
  barred: readonly Barred[];
  /** Lowest release of each model that may be installed or gone back to; known without any document. */
  releaseFloors: ReleaseFloors;
}

export interface Trust {
  /** Of what is installed now; cheaper than a view where nothing has changed since the last. */
  spokenAgainst(): SpokenAgainst;
  /** Last view, from disk after a restart (refreshedMono is then -Infinity). */
  view(): TrustedView | undefined;
  /** Whole client workflow of both repositories. @throws SkeinError METADATA_*, SIGNATURE_INVALID, UNREACHABLE; the old view stays. */
  refresh(): Promise<TrustedView>;
}

/** A model whose every blob is on disk and verified. */
export interface StagedModel {
  manifest: Manifest;
  manifestSha256: Sha256Hex;
  variant: Variant;
  /** Path of the variant's file and of the golden vectors. */
  modelPath: string;
  goldenPath: string;
}

/** Content-addressed model store on the device. */
export interface Slots {
  has(sha256: Sha256Hex): Promise<boolean>;
  /** Bytes of `<sha>.part` whose prefix is intact (re-hashed), where a download goes on. */
  partSize(sha256: Sha256Hex): Promise<Bytes>;
  /** Appends in order; finish() fsyncs, checks the hash, renames, fsyncs the directory. @throws SkeinError BLOB_MISMATCH (part removed), DISK_FULL */
  writer(sha256: Sha256Hex, size: Bytes): Promise<BlobWriter>;
  /** Whole, re-hashed; for small blobs. @throws SkeinError NOT_FOUND, BLOB_MISMATCH */
  read(sha256: Sha256Hex): Promise<Uint8Array>;
  /** Forgets a blob whose bytes turned out to be wrong. */
  discard(sha256: Sha256Hex): Promise<void>;
  pathOf(sha256: Sha256Hex): string;
  /** Reads a blob that is whole, or the part of one that is still written. undefined: there is neither. */
  reader(sha256: Sha256Hex): Promise<BlobReader | undefined>;
  /** Whole blobs, the oldest first. */
  list(): Promise<{ sha256: Sha256Hex; size: Bytes }[]>;
  /** Removes every blob not in `keep`, and stale parts. */
  prune(keep: ReadonlySet<Sha256Hex>): Promise<void>;
}

export interface BlobReader {
  /**
   * Up to `length` bytes from `offset` on; fewer where it ends.
   * @param into where they are put, for a caller that uses one buffer again and again
   * @throws SkeinError DISK_FAILED
   */
  read(offset: Bytes, length: Bytes, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface BlobWriter {
  readonly offset: Bytes;
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<void>;
  /** Keeps the part for resuming. */
  abandon(): Promise<void>;
}

export interface PreflightVerdict {
  ok: boolean;
  /** Stable code when not ok: GOLDEN_MISMATCH, MODEL_CRASHED, MODEL_OUTPUT_NOT_FINITE, MODEL_TIMEOUT, MODEL_MEMORY, MODEL_INVALID. */
  code: string | null;
  detail: string | null;
  loaded: Sha256Hex | null;
  golden: { passed: number; total: number };
  /** True when this machine, not the model, is at fault: never quarantines. */
  environment: boolean;
  /** Who vouches for `loaded`; absent: the runtime in our own process. */
  proof?: Proof;
}

/** Medians of variants run in turns, or why there are none. */
export type Measured = { figures: Figure[] } | { failed: string };

/** Loads and tries a staged model in a process of its own, under memory and time limits. */
export interface Preflight {
  /** Ends early, with an environment verdict, when `signal` aborts. */
  run(model: StagedModel, signal?: AbortSignal, compiling?: Compiling): Promise<PreflightVerdict>;
  /** Runs variants that passed in turns, for a bounded time. Never rejects. Absent: nothing can be measured. */
  measure?(models: readonly StagedModel[], signal?: AbortSignal): Promise<Measured>;
}

export interface ProbationStats {
  /** All attempts, errors included. */
  inferences: number;
  errors: number;
  notFinite: number;
  p95LatencyUs: number;
  /** What the 95th percentile is at least, however unlucky these inferences were. */
  p95AtLeastUs: number;
  /** Resident memory of the process just now; absent: it is not known. */
  residentBytes?: Bytes;
  /** What the model's own charts say; absent: none of their windows is full yet, or it has none. */
  drift?: ChartVerdict | undefined;
  /** What the charts of the model before say of the same readings; absent: they can not be compared. */
  formerDrift?: ChartVerdict | undefined;
}

/** Of a model that has not run. */
export const NO_STATS: ProbationStats = {
  inferences: 0,
  errors: 0,
  notFinite: 0,
  p95LatencyUs: 0,
  p95AtLeastUs: 0,
};

/** The running engine, as the update machine sees it. */
export interface ModelRuntime {
  /** Swaps between two inferences without dropping one. Returns the hash of the bytes that were loaded. When it throws, what ran before still runs. */
  activate(model: StagedModel, compiling?: Compiling): Promise<{ loaded: Sha256Hex }>;
  deactivate(model: string): Promise<void>;
  /** Since the last activate of this model. */
  stats(model: string): ProbationStats;
}

/** Durable state of one model's update machine; one transaction per save. `state` is opaque JSON here. */
export interface UpdateStore {
  load(model: string): string | undefined;
  models(): string[];
  save(model: string, state: string): void;
}

/** Where reports go: the outbox's `events` stream, committed before it returns. Idempotent by report id at the server. */
export interface ReportSink {
  report(report: UpdateReport): void;
}
