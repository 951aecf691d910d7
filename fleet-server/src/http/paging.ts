/** Cursor pages: a cursor is the sort key of the last item, so pages neither skip nor repeat while rows come. */
import { SkeinError } from '@skein/protocol/errors.ts';

export const DEFAULT_LIMIT = 100;

export const encodeCursor = (key: string | number): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');

/** @throws SkeinError REQUEST_INVALID */
export function decodeCursor(cursor: string): string | number {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (typeof key === 'string' || typeof key === 'number') return key;
  } catch {
    // Falls through to the one error below.
  }
  throw new SkeinError('REQUEST_INVALID', 'cursor: not one of ours', {
    fix: 'Pass `next` of the page before, unchanged.',
    data: { path: '/cursor' },
  });
}

/** `rows` holds up to limit + 1 items: the extra one only tells that there is a next page. */
export function pageOf<T>(rows: readonly T[], limit: number, keyOf: (item: T) => string | number) {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  const next = rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null;
  return { items, next };
}
