/**
 * Notices that the way out of this device changed, such as from Wi-Fi to LTE: its default routes and its own addresses,
 * looked at every {@link LOOK_MS} (two small files of /proc and getifaddrs, about 0.1 ms). A connection from an address
 * that is gone would wait for its keepalive otherwise. Link-local addresses, which come and go with containers, do
 * not count.
 */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { tableRows } from '../linux-table.ts';

const LOOK_MS: Millis = 3 * SECOND;

export interface WaysOptions {
  clock: Clock;
  /** All addresses of this device as they are now. */
  changed(addresses: ReadonlySet<string>): void;
  /** Of /proc. */
  root?: string;
  addresses?: () => string[];
}

export function watchWays({ clock, changed, root = '/proc', addresses = ownAddresses }: WaysOptions): Timer {
  const look = () => {
    const own = addresses();
    return { own, ways: [...defaultRoutes(root), ...own.filter(routed).toSorted()].join() };
  };
  let known = look().ways;
  let timer: Timer;
  const again = () => {
    timer = clock.after(LOOK_MS, () => {
      const { own, ways } = look();
      again();
      if (ways === known) return;
      known = ways;
      changed(new Set(own));
    });
  };
  again();
  return { cancel: () => timer.cancel() };
}

const routed = (address: string): boolean => !/^(127\.|::1$|169\.254\.|fe80:)/.test(address);

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
}

/** proc(5): net/route is `iface destination gateway flags refs use metric mask`; ipv6_route ends in `flags iface`. */
function defaultRoutes(root: string): string[] {
  const v4 = tableRows(join(root, 'net/route'))
    .filter((row) => row[1] === '00000000' && row[7] === '00000000')
    .map(([iface, , gateway, flags, , , metric]) => [iface, gateway, flags, metric].join(' '));
  const v6 = tableRows(join(root, 'net/ipv6_route'))
    .filter((row) => /^0{32}$/.test(row[0] ?? '') && row[1] === '00' && row[9] !== 'lo')
    .map((row) => [row[9], row[4], row[5]].join(' '));
  return [...v4, ...v6].toSorted();
}
