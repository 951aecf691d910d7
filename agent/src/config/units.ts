/** Durations and sizes as people write them. A bare number has no unit and is refused, but for 0. */
import { DAY, HOUR, KIB, MIB, MINUTE, SECOND } from '@skein/protocol/units.ts';

export type Unit = 'duration' | 'size';

const FACTORS: Record<Unit, Record<string, number>> = {
  duration: { ms: 1, s: SECOND, min: MINUTE, h: HOUR, d: DAY },
  size: { B: 1, KiB: KIB, MiB: MIB, GiB: 1024 * MIB },
};

export const UNIT_EXAMPLES: Record<Unit, string> = {
  duration: 'a duration such as 250ms, 10s, 5min, 6h or 7d',
  size: 'a size such as 64KiB, 64MiB or 2GiB',
};

/** Milliseconds or bytes; undefined when `value` is not written as one. */
export function parseUnit(unit: Unit, value: unknown): number | undefined {
  if (value === 0) return 0;
  const match = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$/.exec(value) : null;
  const factor = match ? FACTORS[unit][match[2]!] : undefined;
  return match && factor !== undefined ? Number(match[1]) * factor : undefined;
}

/** The shortest exact way to write it. */
export function formatUnit(unit: Unit, amount: number): string {
  const [suffix, factor] = Object.entries(FACTORS[unit])
    .reverse()
    .find(([, each]) => amount >= each && amount % each === 0) ?? [unit === 'size' ? 'B' : 'ms', 1];
  return `${amount / factor}${suffix}`;
}
