import type { Clock } from '@skein/protocol/ports.ts';
import { describe, expect, it } from 'vitest';
import { watchDisk } from '../../../fleet-server/src/store/run-disk-watch.ts';

const silent = { info() {}, warn() {}, error() {} };

async function watched(free: number) {
  const disk = { free, fails: false };
  let now = 0;
  let task: (() => void) | undefined;
  const clock: Clock = {
    now: () => now,
    mono: () => now,
    after(_, next) {
      task = next;
      return { cancel: () => (task = undefined) };
    },
  };
  const freeBytes = async () => {
    if (disk.fails) throw new Error('EIO');
    return disk.free;
  };
  const watch = await watchDisk({ clock, log: silent, reserveBytes: 100, freeBytes });
  const look = async (next: number, at: number) => {
    disk.free = next;
    now = at;
    task!();
    await new Promise((resolve) => setImmediate(resolve));
    return watch.fullSince;
  };
  return { watch, look, disk, pending: () => task };
}

describe('the watch on the disk', () => {
  it('stops at the reserve, and goes on only when twice the reserve is free', async () => {
    const { look, watch } = await watched(500);
    expect(watch.fullSince).toBeNull();
    expect(await look(101, 5)).toBeNull();
    expect(await look(99, 7)).toBe(7);
    expect(await look(199, 9)).toBe(7);
    expect(await look(200, 11)).toBeNull();
  });

  it('knows at once what the store has found out', async () => {
    const { watch, look } = await watched(150);
    watch.refused();
    expect(watch.fullSince).toBe(0);
    expect(await look(150, 3)).toBe(0);
    expect(await look(500, 4)).toBeNull();
  });

  it('keeps its word while it can not look, and looks again', async () => {
    const { watch, look, disk, pending } = await watched(50);
    disk.fails = true;
    expect(await look(500, 3)).toBe(0);
    disk.fails = false;
    expect(await look(500, 4)).toBeNull();
    watch.stop();
    expect(pending()).toBeUndefined();
  });
});
