/** What may be left on a disk that loses power: all that was synced, and of the rest anything. */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Chance } from '../seeded.ts';
import type { DiskOp } from './disk-log.ts';
import { type DiskImage, LOSSES, type Loss, LossyDisk } from './lossy-disk.ts';

const SEED = Number(process.env.SKEIN_SEED ?? randomInt(2 ** 31));
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const open = (path: string): DiskOp => ({ op: 'open', path, make: true, empty: false });
const write = (path: string, text: string, offset = 0): DiskOp => ({
  ...{ op: 'write', path, offset },
  bytes: bytes(text),
});
const sync = (path: string): DiskOp => ({ op: 'sync', path });
const rename = (path: string, to: string): DiskOp => ({ op: 'rename', path, to });

function diskAfter(ops: DiskOp[], before: DiskImage = new Map()): LossyDisk {
  const disk = new LossyDisk(before);
  for (const op of ops) disk.perform(op);
  return disk;
}
const plain = (image: DiskImage) =>
  Object.fromEntries([...image].map(([path, held]) => [path, held && Buffer.from(held).toString('latin1')]));
const left = (disk: LossyDisk, loss: Loss, seed = SEED) => plain(disk.after(loss, new Chance(seed)));
/** Every different disk that 300 losses of one kind made, as text. */
const all = (disk: LossyDisk, loss: Loss = 'scattered') =>
  new Set(Array.from({ length: 300 }, (_, nth) => JSON.stringify(left(disk, loss, SEED + nth))));

describe(`a disk that loses power (SKEIN_SEED=${SEED})`, () => {
  it('keeps what was synced under a name that was synced, whatever else is lost', () => {
    const disk = diskAfter([open('a'), write('a', 'one'), sync('a'), sync(''), write('a', 'two')]);
    for (const loss of LOSSES) expect(left(disk, loss).a).toBeDefined();
    expect(left(disk, 'nothing')).toEqual({ a: 'one' });
    expect(left(disk, 'everything')).toEqual({ a: 'two' });
    expect(plain(disk.now())).toEqual({ a: 'two' });
  });

  it('keeps the bytes but not the name of a new file whose folder was not synced', () => {
    const disk = diskAfter([open('a'), write('a', 'one'), sync('a')]);
    expect(left(disk, 'nothing')).toEqual({});
    expect(left(disk, 'names')).toEqual({ a: 'one' });
  });

  it('lets a file grow without its bytes', () => {
    const disk = diskAfter([open('a'), write('a', 'one')]);
    expect(left(disk, 'names')).toEqual({ a: '\0\0\0' });
    expect(all(disk)).toEqual(new Set(['{}', '{"a":""}', '{"a":"one"}', JSON.stringify({ a: '\0\0\0' })]));
  });

  it('renames whole or not at all, and may rename a file that has no bytes yet', () => {
    const before: DiskImage = new Map([['b', bytes('old')]]);
    const ops = [open('b.part'), write('b.part', 'new'), rename('b.part', 'b')];
    const disks = all(diskAfter(ops, before));
    expect(disks).toContain('{"b":"new"}');
    expect(disks).toContain('{"b":""}');
    expect(disks).toContain('{"b":"old","b.part":"new"}');
    const synced = all(diskAfter([ops[0]!, ops[1]!, sync('b.part'), ops[2]!], before));
    expect(synced).toEqual(new Set(['{"b":"old"}', '{"b":"old","b.part":"new"}', '{"b":"new"}']));
    expect(all(diskAfter([ops[0]!, ops[1]!, sync('b.part'), ops[2]!, sync('')], before))).toEqual(
      new Set(['{"b":"new"}']),
    );
  });

  it('tears a write by sectors and leaves the others as they were', () => {
    const before: DiskImage = new Map([['a', bytes('.'.repeat(1536))]]);
    const disk = diskAfter([write('a', 'x'.repeat(1024), 256)], before);
    const [from, middle, to] = [256, 512, 256];
    const pieces = [...all(disk)].map((text) => /^(\.*)(x*)(\.*)(x*)/.exec(JSON.parse(text).a)![0]);
    expect(new Set(pieces.map((piece) => piece.indexOf('x'))).size).toBeGreaterThan(2);
    for (const text of all(disk)) {
      const held = JSON.parse(text).a as string;
      const sectors = [
        held.slice(256, 256 + from),
        held.slice(512, 512 + middle),
        held.slice(1024, 1024 + to),
      ];
      for (const sector of sectors) expect(sector).toMatch(/^(\.*|x*)$/);
      expect(held.slice(0, 256) + held.slice(1280)).toBe('.'.repeat(512));
    }
  });

  it('may bring back what was unlinked or cut until its folder, or the file, is synced', () => {
    const before: DiskImage = new Map<string, Uint8Array | null>([
      ['d', null],
      ['d/a', bytes('one')],
    ]);
    const gone = diskAfter([{ op: 'unlink', path: 'd/a' }], before);
    expect(all(gone)).toEqual(new Set(['{"d":null}', '{"d":null,"d/a":"one"}']));
    gone.perform(sync('d'));
    expect(all(gone)).toEqual(new Set(['{"d":null}']));
    const cut = diskAfter([{ op: 'truncate', path: 'd/a', size: 1 }], before);
    expect(all(cut)).toEqual(new Set(['{"d":null,"d/a":"one"}', '{"d":null,"d/a":"o"}']));
  });

  it('loses a folder with all that was synced in it, when its own name was not', () => {
    const disk = diskAfter([
      { op: 'mkdir', path: 'd' },
      ...[open('d/a'), write('d/a', 'one'), sync('d/a'), sync('d')],
    ]);
    expect(left(disk, 'nothing')).toEqual({});
    disk.perform(sync(''));
    expect(left(disk, 'nothing')).toEqual({ d: null, 'd/a': 'one' });
  });

  it('keeps the changes before some one, in their order, on a disk that writes in order', () => {
    const ops = [open('a'), write('a', '1'), open('b'), write('b', '2')];
    const disks = all(diskAfter(ops), 'prefix');
    expect(disks).not.toContain('{"b":"2"}');
    expect(disks).toContain('{"a":"1","b":""}');
  });
});
