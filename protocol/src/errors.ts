/**
 * Every error that leaves a module carries a stable code, who has to act, and what to do about it.
 * `operator`: a person's configuration or command. `peer`: what another machine sent. `bug`: ours.
 * `environment`: this machine (disk, driver, memory), never held against a model.
 */
export type Blame = 'operator' | 'peer' | 'bug' | 'environment';

export const ERROR_CODES = {
  CONFIG_INVALID: 'operator',
  CONFIG_UNREADABLE: 'operator',
  PORT_IN_USE: 'operator',
  NOT_ENROLLED: 'operator',
  ALREADY_ENROLLED: 'operator',
  TOKEN_INVALID: 'operator',
  TOKEN_EXPIRED: 'operator',
  TOKEN_USED: 'operator',
  SERVER_NOT_TRUSTED: 'peer',
  UNAUTHENTICATED: 'operator',
  FORBIDDEN: 'operator',
  NOT_FOUND: 'operator',
  CONFLICT: 'operator',
  REQUEST_INVALID: 'operator',
  PAYLOAD_TOO_LARGE: 'peer',
  MESSAGE_INVALID: 'peer',
  BATCH_INVALID: 'peer',
  BATCH_FORGED: 'peer',
  SIGNATURE_INVALID: 'peer',
  METADATA_INVALID: 'peer',
  METADATA_EXPIRED: 'peer',
  METADATA_ROLLBACK: 'peer',
  METADATA_DISAGREES: 'peer',
  HARDWARE_MISMATCH: 'operator',
  BELOW_FLOOR: 'peer',
  ORDERS_STALE: 'peer',
  MANIFEST_INVALID: 'operator',
  BUNDLE_INVALID: 'operator',
  BUNDLE_TRUNCATED: 'peer',
  BLOB_MISMATCH: 'peer',
  BLOB_TOO_LARGE: 'peer',
  DOWNLOAD_FAILED: 'peer',
  PATCH_INVALID: 'peer',
  /** A patch for another file than the one it was given. */
  PATCH_WRONG_BASE: 'operator',
  DISK_FULL: 'environment',
  DISK_FAILED: 'environment',
  OUTBOX_CORRUPT: 'environment',
  OUTBOX_FORKED: 'operator',
  /** A sidecar or server of an execution backend is not there, or went away. */
  BACKEND_UNAVAILABLE: 'environment',
  /** Its device is taken, or it has no memory just now. */
  BACKEND_BUSY: 'environment',
  /** It answered what its own words rule out: other tensors, another version, bytes without end. */
  BACKEND_FAULT: 'environment',
  /** It can not say which bytes it loaded, so nothing could be proven with it. */
  BACKEND_UNPROVEN: 'environment',
  DRIVER_MISMATCH: 'environment',
  /** No variant of the model is made for what this device has. */
  NO_VARIANT: 'environment',
  MODEL_INVALID: 'operator',
  MODEL_CRASHED: 'operator',
  MODEL_OUTPUT_NOT_FINITE: 'operator',
  MODEL_TIMEOUT: 'operator',
  MODEL_MEMORY: 'operator',
  MODEL_QUARANTINED: 'operator',
  GOLDEN_MISMATCH: 'operator',
  PROBATION_ERRORS: 'operator',
  PROBATION_SLOW: 'operator',
  PROBATION_MEMORY: 'operator',
  PROBATION_DRIFT: 'operator',
  START_FAILED: 'operator',
  ORDER_WITHDRAWN: 'operator',
  ORDER_SUPERSEDED: 'operator',
  TENSOR_INVALID: 'operator',
  INPUT_NOT_FINITE: 'operator',
  IMAGE_INVALID: 'peer',
  IMAGE_TOO_LARGE: 'peer',
  OVERLOADED: 'environment',
  SOURCE_FAILED: 'environment',
  SOURCE_INVALID: 'operator',
  UNREACHABLE: 'environment',
  ROLLOUT_INVALID: 'operator',
  /** A key file that is damaged, holds no key, or is not the one that a document names. */
  KEYS_INVALID: 'operator',
  KEY_DUPLICATE: 'operator',
  /** What lies on this disk is encrypted, and its key is not there, or is another one. Nothing is damaged. */
  DATA_KEY_NEEDED: 'environment',
  DATA_KEY_WRONG: 'environment',
  PASSPHRASE_NEEDED: 'operator',
  PASSPHRASE_WRONG: 'operator',
  THRESHOLD_INVALID: 'operator',
  /** Signed by some of the keys it needs, and not by enough yet. */
  THRESHOLD_UNMET: 'operator',
  NAME_INVALID: 'operator',
  /** Offline keys have withdrawn this version: it may neither be installed nor go on running. */
  MODEL_REVOKED: 'operator',
  INTERNAL: 'bug',
} as const satisfies Record<string, Blame>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetail {
  /** What the person who reads this should do next; one sentence. */
  fix?: string;
  cause?: unknown;
  /** Machine-readable context, e.g. `{ line: 12, key: 'mqtt.port' }`. Never secrets. */
  data?: Record<string, unknown>;
}

export class SkeinError extends Error {
  readonly code: ErrorCode;
  readonly fix: string | undefined;
  readonly data: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'SkeinError';
    this.code = code;
    this.fix = detail.fix;
    this.data = detail.data ?? {};
  }

  get blame(): Blame {
    return ERROR_CODES[this.code];
  }
}

/** Wraps whatever was thrown so that callers can rely on a code; a SkeinError passes through unchanged. */
export function asSkeinError(thrown: unknown, code: ErrorCode = 'INTERNAL'): SkeinError {
  if (thrown instanceof SkeinError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new SkeinError(code, message, { cause: thrown });
}

/** One line for a terminal: `CODE: message. fix`. */
export function describeError(thrown: unknown): string {
  const error = asSkeinError(thrown);
  return error.fix ? `${error.code}: ${error.message}\n  → ${error.fix}` : `${error.code}: ${error.message}`;
}
