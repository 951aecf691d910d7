/**
 * What a device did that it should not, counted until it is written down: batches that it did not sign, that are none,
 * that fork or leave out a part of its chain, or that come faster than it may send. Pure; bounded by the caller, who
 * notes only devices that are enrolled.
 */
import type { FAULT_KINDS } from '@skein/protocol/api.ts';
import type { BatchHeader } from '@skein/protocol/batch/header.ts';
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { WarningCode } from '@skein/protocol/warnings.ts';

export type FaultKind = (typeof FAULT_KINDS)[number];

/** The incident that stands for a fault, and how long it must have been quiet to be over. */
export const FAULTS: Record<FaultKind, { code: WarningCode; quietMs: Millis }> = {
  forged: { code: 'BATCH_FORGED', quietMs: DAY },
  invalid: { code: 'BATCH_INVALID', quietMs: HOUR },
  // Told by `reportFork` already, and for a person to end.
  fork: { code: 'IDENTITY_CLONED', quietMs: Number.POSITIVE_INFINITY },
  missing: { code: 'BATCHES_MISSING', quietMs: 10 * MINUTE },
  flood: { code: 'DEVICE_FLOODING', quietMs: MINUTE },
};

export interface Fault {
  device: string;
  kind: FaultKind;
  /** Since the last time they were collected. */
  count: number;
  firstAt: Millis;
  lastAt: Millis;
  /** Of the last one. */
  detail: string;
}

export interface Faults {
  note(device: string, kind: FaultKind, at: Millis, detail: string): void;
  /** All since the last time, to be written down. */
  collect(): Fault[];
  forget(device: string): void;
}

export function createFaults(): Faults {
  let noted = new Map<string, Fault>();
  return {
    note(device, kind, at, detail) {
      const key = `${device}/${kind}`;
      const known = noted.get(key);
      if (known) Object.assign(known, { count: known.count + 1, lastAt: at, detail });
      else noted.set(key, { device, kind, count: 1, firstAt: at, lastAt: at, detail });
    },
    collect() {
      const all = [...noted.values()];
      noted = new Map();
      return all;
    },
    forget: (device) => forgetOf(noted, device),
  };
}

/** @param byDevice keys are `<device>/…` */
function forgetOf(byDevice: Map<string, unknown>, device: string): void {
  for (const key of byDevice.keys()) if (key.startsWith(`${device}/`)) byDevice.delete(key);
}

/** A device that was answered so often, for so long, and still does not send what is wanted, no longer has it. */
const PATIENCE = { answers: 8, ms: 30 * SECOND };
/** Streams watched; the ones seen longest ago are forgotten and begin again. */
const WATCHED = 10_000;

export interface HoleWatch {
  /** The next number was taken: nothing is missing. */
  filled(stream: string): void;
  /** A later one came than `wanted`. What to say, once patience is over; then not again until it was filled. */
  hole(stream: string, header: BatchHeader, wanted: number, now: Millis): string | undefined;
  forget(device: string): void;
}

/** A hole is normal for a moment (something was lost on the way); one that stays is a gap without a record. */
export function createHoleWatch(): HoleWatch {
  const holes = new Map<string, { answers: number; since: Millis; told: boolean }>();
  return {
    filled: (stream) => void holes.delete(stream),
    forget: (device) => forgetOf(holes, device),
    hole(stream, header, wanted, now) {
      const hole = holes.get(stream) ?? { answers: 0, since: now, told: false };
      holes.delete(stream);
      holes.set(stream, hole);
      if (holes.size > WATCHED) holes.delete(holes.keys().next().value!);
      hole.answers++;
      const over = hole.answers >= PATIENCE.answers && now - hole.since >= PATIENCE.ms;
      if (!over || hole.told) return undefined;
      hole.told = true;
      const from = header.gaps[0]?.from ?? header.seq;
      return `${header.stream} ${wanted}–${from - 1}: never came and not accounted for; the device goes on with ${from}`;
    },
  };
}
