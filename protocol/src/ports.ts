/**
 * The ports every core takes by constructor. Cores never reach for a global clock, timer or random source,
 * so a simulation can drive the code that ships.
 */
import type { Millis } from './units.ts';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since 1970. May jump; never subtract two of them to get a duration. */
  now(): Millis;
  /** Monotonic milliseconds since an arbitrary start of this process. */
  mono(): Millis;
  /** Runs `task` once after `delayMs` of monotonic time. */
  after(delayMs: Millis, task: () => void): Timer;
}

export interface Entropy {
  /** `length` unpredictable bytes. */
  bytes(length: number): Uint8Array;
}

/** Ed25519 verification (RFC 8032, strict: S < L, canonical A and R, no small-order points). */
export type Verify = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean;

/** An Ed25519 private key that does not show itself. */
export interface Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64-byte signature over `message`. */
  sign(message: Uint8Array): Uint8Array;
}

export interface Log {
  info(message: string, data?: Record<string, unknown>): void;
  warn(message: string, data?: Record<string, unknown>): void;
  error(message: string, data?: Record<string, unknown>): void;
}
