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
