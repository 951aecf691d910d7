import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { watchWays } from '../../../agent/src/uplink/linux-ways.ts';
import { type ManualClock, manualClock } from '../manual-clock.ts';

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const wifi = 'wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n';
const lte = 'wwan0\t00000000\t01000A0A\t0003\t0\t0\t700\t00000000\t0\t0\t0\n';
const bridge = 'docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n';

let root: string;
let clock: ManualClock;
let own: string[];
let heard: string[][];
let stop: () => void;

const routes = (...rows: string[]) => writeFileSync(join(root, 'net/route'), HEAD + rows.join(''));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skein-ways-'));
  mkdirSync(join(root, 'net'));
  clock = manualClock();
  own = ['127.0.0.1', '192.168.0.7', '10.10.0.2'];
  heard = [];
  routes(wifi, lte);
  const changed = (addresses: ReadonlySet<string>) => void heard.push([...addresses]);
  const watching = watchWays({ clock, root, changed, addresses: () => own });
  stop = () => watching.cancel();
});
afterEach(() => {
  stop();
  rmSync(root, { recursive: true, force: true });
});

describe('the way out', () => {
  it('is noticed when the default route changes, with the addresses that are left', async () => {
    await clock.advance(60_000);
    expect(heard).toEqual([]);
    routes(lte);
    own = ['127.0.0.1', '10.10.0.2'];
    await clock.advance(3_000);
    expect(heard).toEqual([own]);
    await clock.advance(60_000);
    expect(heard).toHaveLength(1);
  });

  it('is noticed when only the address is another one', async () => {
    own = ['127.0.0.1', '192.168.0.99', '10.10.0.2'];
    await clock.advance(3_000);
    expect(heard).toHaveLength(1);
  });

  it('is not changed by containers that come and go, nor by the order in which the kernel lists', async () => {
    routes(lte, bridge, wifi);
    own = ['fe80::1', '10.10.0.2', '192.168.0.7', '127.0.0.1', '::1'];
    await clock.advance(30_000);
    expect(heard).toEqual([]);
  });

  it('does without the files of the kernel', async () => {
    rmSync(join(root, 'net'), { recursive: true });
    await clock.advance(3_000);
    expect(heard).toHaveLength(1);
    await clock.advance(30_000);
    expect(heard).toHaveLength(1);
  });
});
