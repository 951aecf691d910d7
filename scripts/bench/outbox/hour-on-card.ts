/**
 * What the outbox writes to a card in the `sd` storage profile at 1 Hz: a commit a minute of 60 predictions and 2 health
 * records, a batch of each every five minutes, delivered at once. Counted by the block device under an ext4 of its own,
 * which is flushed each minute, so that the file system's journal and metadata are in it; the clock is moved on.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { Outbox } from '@skein/agent/outbox/port.ts';
import { openSqliteOutbox } from '@skein/agent/outbox/sqlite-outbox.ts';
import { nativeSigner, systemEntropy } from '@skein/agent/system-clock.ts';
import type { HealthRecord } from '@skein/protocol/records.ts';
import { type Bytes, MINUTE } from '@skein/protocol/units.ts';
import { predictionAt, START } from '../../load/made-batches.ts';

const health = (i: number): HealthRecord => ({
  ...{ ts: START + i * 1000, mono: i * 1000, boot: '0123456789abcdef' },
  metrics: Object.fromEntries(
    Array.from({ length: 32 }, (_, k) => [`metric_${k}`, Math.fround(((i + k) * 7919) % 100)]),
  ),
});

interface Hour {
  written: Bytes;
  /** Of the predictions. */
  wire: Bytes;
}

/** The hour that is measured comes after the log has reached its length. */
const WARM_UP_MINUTES = 120;
/** Default of `uplink.batchInterval` with storage sd. */
const BATCH_MINUTES = 5;
const SENT = ['health', 'predictions'] as const;

function hourOnCard(path: string, noteIn: string | undefined, card: Pick<Card, 'written' | 'flush'>): Hour {
  let mono = 0;
  const outbox = openSqliteOutbox({
    ...{ path, noteIn, alone: true, fleet: 'home', device: 'd-bench' },
    clock: { now: () => START + mono, mono: () => mono, after: () => ({ cancel() {} }) },
    entropy: systemEntropy,
    signer: nativeSigner(systemEntropy.bytes(32)),
  });
  let [wire, before] = [0, 0];
  for (let minute = 0; minute < WARM_UP_MINUTES + 60; minute++) {
    if (minute === WARM_UP_MINUTES) [wire, before] = [0, card.written()];
    for (let i = 0; i < 60; i++) outbox.append('predictions', predictionAt(minute * 60 + i));
    for (const half of [0, 30]) outbox.append('health', health(minute * 60 + half));
    mono += MINUTE;
    outbox.commit();
    if (minute % BATCH_MINUTES === BATCH_MINUTES - 1) wire += deliver(outbox);
    card.flush();
  }
  const written = card.written() - before;
  outbox.close();
  return { written, wire };
}

/** As the drain does: all is sealed, offered, and then answered. Returns the bytes of the predictions. */
function deliver(outbox: Outbox): Bytes {
  for (const stream of SENT) outbox.seal(stream);
  const rows = SENT.flatMap((stream) => outbox.pending(stream, 1));
  for (const { stream, epoch, upTo, hash: head } of rows) outbox.delivered({ stream, epoch, upTo, head });
  return rows.find(({ stream }) => stream === 'predictions')!.bytes.length;
}

/** Bytes that this process has caused to be written, as the kernel counts them: for who may make no device. */
const writtenBySelf = (): Bytes =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);

const SECTOR: Bytes = 512;
interface Card {
  folder: string;
  /** What the device was given to write so far. */
  written(): Bytes;
  /** All that waits goes to the device, as the kernel does within half a minute. */
  flush(): void;
  remove(): void;
}

/** ext4 on a loop device; undefined without the right to make one. */
function makeCard(dir: string): Card | undefined {
  const [image, folder] = [join(dir, 'card.img'), join(dir, 'card')];
  const run = (command: string, ...args: string[]): string =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    writeFileSync(image, '');
    truncateSync(image, 64 << 20);
    mkdirSync(folder);
    run('mkfs.ext4', '-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image);
    run('mount', '-o', 'loop,noatime', image, folder);
    const device = basename(run('findmnt', '-n', '-o', 'SOURCE', folder));
    const flush = () => void run('sync', '-f', folder);
    const written = () => {
      flush();
      const fields = readFileSync(`/sys/block/${device}/stat`, 'utf8').trim().split(/\s+/);
      return Number(fields[6]) * SECTOR;
    };
    return { folder, written, flush, remove: () => void run('umount', folder) };
  } catch {
    return undefined;
  }
}

/** What it wrote in the third hour of its life. @param dir for its files */
export function measureHour(dir: string): Hour & { by: string } {
  const notes = existsSync('/dev/shm') ? mkdtempSync('/dev/shm/skein-bench-') : undefined;
  const card = makeCard(dir);
  try {
    if (card) return { ...hourOnCard(join(card.folder, 'sd.db'), notes, card), by: 'ext4, device counters' };
    const self = { written: writtenBySelf, flush() {} };
    return {
      ...hourOnCard(join(dir, 'sd.db'), notes, self),
      by: '/proc/self/io: no right to make a device',
    };
  } finally {
    card?.remove();
    if (notes) rmSync(notes, { recursive: true, force: true });
  }
}
