import { ago, dateTime } from '../data/format.ts';
import { now } from '../data/time.ts';

/** Ticks with the page's clock; the exact time is in the tooltip and in `datetime`. */
export function RelativeTime({ at, absent = 'never' }: { at: number | null | undefined; absent?: string }) {
  if (!at) return <span class="muted">{absent}</span>;
  return (
    <time class="nowrap" dateTime={new Date(at).toISOString()} title={dateTime(at)}>
      {ago(at, now.value)}
    </time>
  );
}
