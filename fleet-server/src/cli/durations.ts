import { SkeinError } from '@skein/protocol/errors.ts';
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '@skein/protocol/units.ts';

const UNITS: Record<string, Millis> = { ms: 1, s: SECOND, min: MINUTE, m: MINUTE, h: HOUR, d: DAY };

/** `30s`, `10min`, `24h`, `7d`; `0` needs no unit. @throws SkeinError REQUEST_INVALID */
export function parseDuration(text: string): Millis {
  const [, amount, unit] = /^(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|min|m|h|d)$/.exec(text.trim()) ?? [];
  if (amount && unit) return Math.round(Number(amount) * UNITS[unit]!);
  if (text.trim() === '0') return 0;
  throw new SkeinError('REQUEST_INVALID', `${text} is not a duration`, {
    fix: 'Write a number with its unit, such as 30s, 10min, 24h or 7d.',
  });
}
