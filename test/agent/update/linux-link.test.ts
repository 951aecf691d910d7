import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linuxLink, uplinkOf } from '@skein/agent/update/linux-link.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manualClock } from '../manual-clock.ts';

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const route = (name: string, metric: number, destination = '00000000', mask = '00000000', flags = '0003') =>
  `${name}\t${destination}\t0102A8C0\t${flags}\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`;
const zeros = '0'.repeat(32);
const v6 = (name: string, metric: string, flags = '00000003') =>
  `${zeros} 00 ${zeros} 00 fe80000000000000021122fffe334455 ${metric} 00000001 00000000 ${flags} ${name}\n`;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-proc-'));
  mkdirSync(join(root, 'net'));
});
afterEach(() => rmSync(root, { recursive: true }));
const routes = (text: string, six = '') => {
  writeFileSync(join(root, 'net/route'), HEAD + text);
  writeFileSync(join(root, 'net/ipv6_route'), six);
};

describe('the uplink', () => {
  it('is the interface of the default route with the lowest metric', () => {
    routes(route('eth0', 100) + route('wwan0', 700) + route('wlan0', 0, '0002A8C0', '00FFFFFF'));
    expect(uplinkOf(root)).toBe('eth0');
    routes(route('eth0', 100, undefined, undefined, '0002') + route('wwan0', 700));
    expect(uplinkOf(root)).toBe('wwan0');
  });

  it('is that of IPv6 when there is no other, and none when nothing leads out', () => {
    routes('', v6('lo', 'ffffffff', '00200200') + v6('wwan0', '00000400'));
    expect(uplinkOf(root)).toBe('wwan0');
    routes('');
    expect(uplinkOf(root)).toBeNull();
    rmSync(join(root, 'net'), { recursive: true });
    expect(uplinkOf(root)).toBeNull();
  });

  it('is metered while it goes over an interface that was named so, and looked at again', async () => {
    const clock = manualClock();
    const link = linuxLink(['wwan*', 'usb0.5'], clock, root);
    routes(route('wwan0', 1));
    expect(link.metered()).toBe('wwan0');
    routes(route('eth0', 1));
    await clock.advance(5_000);
    expect(link.metered()).toBeNull();
    routes(route('usb0x5', 1));
    await clock.advance(5_000);
    expect(link.metered()).toBeNull();
    expect(linuxLink([], clock, root).metered()).toBeNull();
  });
});
