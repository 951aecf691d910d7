import type { Millis } from '@skein/protocol/units.ts';

/** One flat measurement. NaN marks a value that is missing. */
export interface Reading {
  ts: Millis;
  mono: Millis;
  source: string;
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
}

/** Delivers readings until stopped. A source never throws out of its own timers or streams. */
export interface Source {
  readonly name: string;
  /** No reading for this long means stalled. */
  readonly stallAfterMs: Millis;
  start(handlers: SourceHandlers): void;
  stop(): Promise<void>;
}
