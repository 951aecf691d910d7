/** Live readings per device, newest last and bounded: what the sparklines draw and the device page appends. */
import { type Signal, signal } from '@preact/signals';
import type { StateMessage } from '@skein/protocol/messages.ts';

/** One `state` message: its numbers by name. */
export interface Reading {
  ts: number;
  values: Record<string, number>;
}

/** Two minutes at 1 Hz; a sparkline shows no more. */
export const MAX_READINGS = 120;

export function readingOf(state: StateMessage): Reading {
  const values: Record<string, number> = {};
  for (const [key, value] of Object.entries(state))
    if (key !== 'ts' && typeof value === 'number') values[key] = value;
  return { ts: state.ts, values };
}

/** Keeps order and the bound; a reading that is not newer than the last one is a repetition and is left out. */
export function appended(
  readings: readonly Reading[],
  next: Reading,
  max = MAX_READINGS,
): readonly Reading[] {
  const last = readings.at(-1);
  if (last && next.ts <= last.ts) return readings;
  return [...readings.slice(Math.max(0, readings.length - max + 1)), next];
}

export interface LiveDevice {
  state: Signal<StateMessage | null>;
  readings: Signal<readonly Reading[]>;
}

const devices = new Map<string, LiveDevice>();

export function liveDevice(id: string): LiveDevice {
  const known = devices.get(id);
  if (known) return known;
  const fresh: LiveDevice = { state: signal(null), readings: signal([]) };
  devices.set(id, fresh);
  return fresh;
}

export function receiveState(id: string, state: StateMessage): void {
  const live = liveDevice(id);
  live.state.value = state;
  live.readings.value = appended(live.readings.value, readingOf(state));
}

/** Puts stored readings before what has already come in live. */
export function seedReadings(id: string, stored: readonly Reading[]): void {
  const live = liveDevice(id);
  const first = live.readings.value[0]?.ts ?? Number.POSITIVE_INFINITY;
  const older = stored.filter((reading) => reading.ts < first);
  live.readings.value = [...older, ...live.readings.value].slice(-MAX_READINGS);
}
