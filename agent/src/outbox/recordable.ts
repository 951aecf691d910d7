/** What may be recorded: JSON with finite numbers, at most 64 KiB. Anything else would not come back as it went in. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';

export const MAX_RECORD_BYTES: Bytes = 64 * 1024;
const MAX_DEPTH = 12;

/** The record as it is stored. @throws SkeinError INPUT_NOT_FINITE, REQUEST_INVALID, PAYLOAD_TOO_LARGE */
export function textOf(record: unknown): string {
  check(record, '', 0);
  const text = JSON.stringify(record);
  if (text.length > MAX_RECORD_BYTES) {
    throw new SkeinError(
      'PAYLOAD_TOO_LARGE',
      `a record of ${text.length} characters; at most ${MAX_RECORD_BYTES}`,
    );
  }
  return text;
}

function check(value: unknown, path: string, depth: number): void {
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return;
    throw new SkeinError('INPUT_NOT_FINITE', `record${path} is ${value}`, {
      fix: 'Leave the value out or mark it as missing before it is recorded.',
      data: { path },
    });
  }
  if (typeof value !== 'object' || value === null) return;
  if (depth > MAX_DEPTH) throw new SkeinError('REQUEST_INVALID', `record${path}: nested too deeply`);
  for (const key of Object.keys(value)) {
    const inside = (value as Record<string, unknown>)[key];
    if (typeof inside === 'string' && key !== '__proto__') continue;
    if (key === '__proto__') throw new SkeinError('REQUEST_INVALID', `record${path}: the key __proto__`);
    if (typeof inside === 'number' && Number.isFinite(inside)) continue;
    check(inside, `${path}/${key}`, depth + 1);
  }
}
