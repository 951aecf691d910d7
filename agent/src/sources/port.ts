import type { Millis } from '@skein/protocol/units.ts';

/**
 * An image as its source had it, not yet decoded: a damaged one is one bad reading, not a broken source.
 * Raw pixels are row-major without padding; `i420` is planar Y, then U and V at half width and height (rounded up).
 */
export type Picture =
  | { format: 'jpeg' | 'png'; bytes: Uint8Array }
  | { format: 'gray8' | 'rgb24' | 'rgba32' | 'i420'; width: number; height: number; bytes: Uint8Array };

/** One measurement: flat values (NaN marks one that is missing), or a picture and then no values. */
export interface Reading {
  ts: Millis;
  mono: Millis;
  source: string;
  picture?: Picture;
  values: Readonly<Record<string, number>>;
  /** Known class of a replayed recording; for accuracy, never fed to the model. */
  truth?: string;
}

export interface SourceHandlers {
  reading(reading: Reading): void;
  /** The source goes on by itself after this; `failed` is for people. */
  failed(error: Error): void;
  /** A finite replay has no more readings. */
  ended(): void;
  /** The source knows that nothing comes for this long: its silence counts from then on. */
  quiet?(ms: Millis): void;
  /**
   * undefined: another reading can be taken. Else as many wait for the model as may, and what comes now is left out; a
   * source that can wait or refuse does so until this resolves.
   */
  room?(): Promise<void> | undefined;
}

/** Delivers readings until stopped. A source never throws out of its own timers or streams. */
export interface Source {
  readonly name: string;
  /** No reading for this long means stalled. */
  readonly stallAfterMs: Millis;
  start(handlers: SourceHandlers): void;
  stop(): Promise<void>;
}
