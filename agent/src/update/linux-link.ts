/**
 * Over which interface the uplink goes: that of the default route with the lowest metric, IPv4 before IPv6. Whether it is
 * metered is the operator's word, by name patterns.
 */
import { join } from 'node:path';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { tableRows } from '../linux-table.ts';
import type { Link } from './gate.ts';

const LOOK_MS: Millis = 2_000;

/** @param patterns `*` stands for any characters @param root of /proc */
export function linuxLink(patterns: readonly string[], clock: Clock, root = '/proc'): Link {
  const metered = patterns.map(
    (pattern) => new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`),
  );
  let known: { at: Millis; name: string | null } | undefined;
  return {
    metered() {
      if (metered.length === 0) return null;
      const at = clock.mono();
      if (!known || at - known.at >= LOOK_MS) {
        const name = uplinkOf(root);
        known = { at, name: name !== null && metered.some((pattern) => pattern.test(name)) ? name : null };
      }
      return known.name;
    },
  };
}

/** proc(5): /proc/net/route has destination, flags, metric and mask as columns 1, 3, 6, 7; ipv6_route others. */
export function uplinkOf(root: string): string | null {
  const v4 = tableRows(join(root, 'net/route'))
    .filter((row) => row[1] === '00000000' && row[7] === '00000000' && up(row[3]))
    .map((row) => ({ name: row[0]!, metric: Number(row[6]) }));
  const v6 = tableRows(join(root, 'net/ipv6_route'))
    .filter((row) => /^0{32}$/.test(row[0] ?? '') && row[1] === '00' && up(row[8]) && row[9] !== 'lo')
    .map((row) => ({ name: row[9]!, metric: Number.parseInt(row[5] ?? '', 16) }));
  const [first] = (v4.length > 0 ? v4 : v6).toSorted((a, b) => a.metric - b.metric);
  return first?.name ?? null;
}

/** RTF_UP, and not RTF_REJECT. */
const up = (flags: string | undefined): boolean => {
  const bits = Number.parseInt(flags ?? '', 16);
  return (bits & 0x1) !== 0 && (bits & 0x200) === 0;
};
