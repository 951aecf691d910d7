/** Milliseconds: a duration, or a wall-clock time since 1970 when the name ends in `At` or is `ts`. */
export type Millis = number;
/** A size or a byte offset. */
export type Bytes = number;
/** Lower-case hexadecimal SHA-256, 64 characters. */
export type Sha256Hex = string;

export const SECOND: Millis = 1_000;
export const MINUTE: Millis = 60_000;
export const HOUR: Millis = 3_600_000;
export const DAY: Millis = 86_400_000;

export const KIB: Bytes = 1_024;
export const MIB: Bytes = 1_048_576;

const DURATION = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|min|h|d)$/;
const FACTORS: Record<string, Millis> = { ms: 1, s: SECOND, m: MINUTE, min: MINUTE, h: HOUR, d: DAY };

/** `250ms`, `30s`, `10m` or `10min`, `2h`, `7d` and `0` as milliseconds; undefined for anything else. */
export function parseDuration(text: string): Millis | undefined {
  if (text === '0') return 0;
  const [, amount, unit] = DURATION.exec(text) ?? [];
  return amount === undefined ? undefined : Math.round(Number(amount) * FACTORS[unit!]!);
}
