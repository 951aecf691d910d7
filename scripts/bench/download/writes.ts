/** What a deployment writes to a file system of its own, beside a plain copy of the same bytes. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { MIB } from '@skein/protocol/units.ts';
import type { Emit } from '../measurement.ts';
import { openDevice, type Published, publish } from './device.ts';
import { held, LONG, observed } from './figures.ts';
import { Origin } from './fleet.ts';
import type { Fleet } from './wire.ts';

export async function writes(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
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
    emit(held(`deployment (${outcome}) writes, ${by}`, times, '× payload', 1.2));
    const start = written();
    plainCopy(directory, place, published);
    emit(observed('  a plain copy and fsync writes', (written() - start) / published.bytes, '× payload'));
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
