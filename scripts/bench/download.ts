/**
 * How models come to devices, with the agent's own parts, real processes and real TLS over loopback, through a link that
 * counts every byte it carries: a download that is cut a hundred times and then loses its server for a while, the rate
 * cap, fifty devices of one site, and what a deployment writes to a file system of its own, beside a plain copy.
 * SKEIN_LONG=1: larger models, a longer outage, and the site once more with its cache killed on the way.
 */
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { KIB, MIB } from '@skein/protocol/units.ts';
import { openDevice, type Published, publish } from './download/device.ts';
import { newFleet, Origin } from './download/fleet.ts';
import type { Fleet, FromSite, SiteStart } from './download/wire.ts';
import type { Emit } from './measurement.ts';

const LONG = process.env.SKEIN_LONG === '1';
const here = (file: string): string => join(import.meta.dirname, 'download', file);

export async function run(emit: Emit): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-download-'));
  try {
    const fleet = await newFleet(join(folder, 'ca'));
    await disconnects(emit, folder, fleet);
    await rateCap(emit, folder, fleet);
    await site(emit, folder, fleet, 'designated');
    if (LONG) await site(emit, folder, fleet, 'killed');
    await writes(emit, folder, fleet);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const held = (value: number, most: number) => ({ value, bar: `≤ ${most}`, holds: value <= most });

async function disconnects(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
  const directory = join(folder, 'blobs');
  const { agreed, bytes } = publish(directory, LONG ? 64 : 16);
  const origin = await Origin.start({ fleet, directory, linkRate: 24 * MIB });
  const device = await openDevice(join(folder, 'cut'), origin.url, fleet);
  const outageMs = LONG ? 180_000 : 10_000;
  try {
    await origin.tell({ type: 'cuts', count: 100, everyBytes: bytes / 130 });
    const updated = device.update(agreed);
    let { connections } = await origin.carried();
    while (connections < 60) {
      await sleep(200);
      ({ connections } = await origin.carried());
    }
    await origin.tell({ type: 'outage', ms: outageMs });
    const from = performance.now();
    const { outcome } = await updated;
    const { bytes: carriedBytes, connections: opened } = await origin.carried();
    const bench = 'download';
    emit({
      bench,
      metric: `ends after ${opened - 1} breaks, outage`,
      value: outcome === 'committed' ? 1 : 0,
      unit: 'committed',
      bar: 1,
      holds: outcome === 'committed',
    });
    emit({
      bench,
      metric: 'bytes on the link / bytes of the blobs',
      unit: '×',
      ...held(carriedBytes / bytes, 1.02),
    });
    emit({
      bench,
      metric: 'done after the outage’s end',
      value: (performance.now() - from - outageMs) / 1000,
      unit: 's',
      bar: null,
      holds: null,
    });
  } finally {
    await device.close();
    origin.stop();
  }
}

async function rateCap(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
  for (const [rate, layers, ordered] of [
    [512 * KIB, 1, undefined],
    [64 * MIB, 4, 2 * MIB],
  ] as const) {
    const directory = join(folder, `capped-${rate}`);
    const { agreed, bytes } = publish(
      directory,
      layers,
      '1.0.0',
      ordered ? { transfer: { rate: ordered } } : {},
    );
    const origin = await Origin.start({ fleet, directory });
    const device = await openDevice(join(folder, `cap-${rate}`), origin.url, fleet, { rate: `${rate}B` });
    try {
      const from = performance.now();
      await device.update(agreed);
      const { bytes: carriedBytes, lastMs, firstMs } = await origin.carried();
      // The origin's clock is another process's: only its differences count.
      const tookMs = lastMs - firstMs;
      const cap = ordered ?? rate;
      const seen = bytes / (tookMs / 1000);
      const off = Math.abs(seen / cap - 1) * 100;
      const by = ordered ? 'by the order' : 'by agent.yaml';
      emit({ bench: 'download', metric: `${cap / KIB} KiB/s ${by}: off by`, unit: '%', ...held(off, 5) });
      emit({
        bench: 'download',
        metric: '  with TLS and headers',
        value: (carriedBytes / (tookMs / 1000) / cap - 1) * 100,
        unit: '%',
        bar: null,
        holds: null,
      });
      emit({
        bench: 'download',
        metric: '  whole update',
        value: (performance.now() - from) / 1000,
        unit: 's',
        bar: null,
        holds: null,
      });
    } finally {
      await device.close();
      origin.stop();
    }
  }
}

const DEVICES = 50;
const PROCESSES = 5;

async function site(emit: Emit, folder: string, fleet: Fleet, how: 'designated' | 'killed'): Promise<void> {
  const directory = join(folder, `site-${how}`);
  const { model } = publish(join(directory, 'blobs'), LONG ? 8 : 4);
  const origin = await Origin.start({
    fleet,
    directory: join(directory, 'blobs'),
    linkRate: (how === 'killed' ? 4 : 8) * MIB,
  });
  const port = await freePort();
  const peers = [`https://127.0.0.1:${port}`];
  const start = { fleet, url: origin.url, blob: model, devices: DEVICES / PROCESSES };
  const children: ChildProcess[] = [];
  const begin = (settings: SiteStart): Promise<FromSite> => {
    const child = fork(here('site.ts'));
    children.push(child);
    child.send(settings);
    return new Promise((done) => child.once('message', done as never));
  };
  const cache = () => begin({ ...start, directory, site: { serve: true, port, peers: [] } });
  try {
    await cache();
    const ready = Array.from({ length: PROCESSES }, (_, i) =>
      begin({ ...start, directory: join(directory, `part-${i}`), site: { serve: false, port, peers } }),
    );
    await Promise.all(ready);
    const asking = children.slice(1);
    const done = asking.map(
      (child) => new Promise<void>((resolve) => child.once('message', () => resolve())),
    );
    const from = performance.now();
    for (const child of asking) child.send('go');
    if (how === 'killed') {
      await sleep(2_000);
      children[0]!.kill('SIGKILL');
      await sleep(3_000);
      await cache();
    }
    await Promise.all(done);
    const { bytes } = await origin.carried();
    const name = how === 'killed' ? ', cache killed' : '';
    emit({
      bench: 'download',
      metric: `copies on the uplink, ${DEVICES} devices${name}`,
      unit: '×',
      ...held(bytes / model.size, 1.1),
    });
    emit({
      bench: 'download',
      metric: '  all have it after',
      value: (performance.now() - from) / 1000,
      unit: 's',
      bar: null,
      holds: null,
    });
  } finally {
    for (const child of children) if (child.connected) child.disconnect();
    origin.stop();
  }
}

const freePort = (): Promise<number> =>
  new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });

async function writes(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
  const directory = join(folder, 'written-blobs');
  const published = publish(directory, LONG ? 24 : 12);
  const disk = mountDisk(folder);
  const origin = await Origin.start({ fleet, directory });
  const place = disk?.path ?? join(folder, 'written');
  mkdirSync(place, { recursive: true });
  const written = disk?.written ?? ownWrites;
  const device = await openDevice(place, origin.url, fleet);
  try {
    const before = written();
    const { outcome } = await device.update(published.agreed);
    const times = (written() - before) / published.bytes;
    const by = disk ? 'block device' : '/proc/self/io';
    emit({
      bench: 'download',
      metric: `deployment (${outcome}) writes, ${by}`,
      unit: '× payload',
      ...held(times, 1.2),
    });
    const start = written();
    plainCopy(directory, place, published);
    emit({
      bench: 'download',
      metric: '  a plain copy and fsync writes',
      value: (written() - start) / published.bytes,
      unit: '× payload',
      bar: null,
      holds: null,
    });
  } finally {
    await device.close();
    origin.stop();
    disk?.unmount();
  }
}

function plainCopy(directory: string, place: string, { model }: Published): void {
  const copy = join(place, 'copy');
  copyFileSync(join(directory, model.sha256), copy);
  const file = openSync(copy, 'r+');
  fsyncSync(file);
  closeSync(file);
}

/** Bytes that this process caused to be written (proc(5)). */
const ownWrites = (): number => Number(/write_bytes: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

/** A file system of its own on a loop device, whose sectors are counted; undefined where that is not allowed. */
function mountDisk(folder: string) {
  const image = join(folder, 'disk.img');
  const path = join(folder, 'disk');
  try {
    writeFileSync(image, '');
    truncateSync(image, 512 * MIB);
    execFileSync('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image], {
      stdio: 'ignore',
    });
    mkdirSync(path);
    execFileSync('mount', ['-o', 'loop', image, path], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  const device = execFileSync('findmnt', ['-n', '-o', 'SOURCE', path], { encoding: 'utf8' }).trim();
  const stat = `/sys/block/${basename(device)}/stat`;
  return {
    path,
    /** Sectors of 512 bytes, seventh column (Documentation/block/stat.rst), after all is out. */
    written() {
      execFileSync('sync', ['-f', path]);
      return Number(readFileSync(stat, 'utf8').trim().split(/\s+/)[6]) * 512;
    },
    unmount: () => execFileSync('umount', ['--lazy', path]),
  };
}
