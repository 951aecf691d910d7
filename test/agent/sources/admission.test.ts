import { describe, expect, it } from 'vitest';
import { admission, MAX_UNDER_WAY } from '../../../agent/src/sources/admission.ts';
import type { Reading } from '../../../agent/src/sources/port.ts';

function scene() {
  const begun: number[] = [];
  const finish: (() => void)[] = [];
  const door = admission(({ ts }) => {
    begun.push(ts);
    return new Promise((resolve) => finish.push(resolve));
  });
  const values = (ts: number): Reading => ({ ts, mono: ts, source: 's', values: { a: 1 } });
  const frame = (ts: number): Reading => ({
    ...values(ts),
    values: {},
    picture: { format: 'jpeg', bytes: new Uint8Array(1) },
  });
  const finishNext = async () => {
    finish.shift()!();
    for (let i = 0; i < 5; i += 1) await Promise.resolve();
  };
  return { begun, door, values, frame, finishNext };
}

describe('the door to a pipeline', () => {
  it('holds the latest picture while one is under way, and counts those it replaced', async () => {
    const { begun, door, frame, finishNext } = scene();
    for (let i = 0; i < 10; i += 1) door.offer(frame(i));
    expect(begun).toEqual([0]);
    expect(door.dropped).toBe(8);
    await finishNext();
    expect(begun).toEqual([0, 9]);
    await finishNext();
    door.offer(frame(10));
    expect(begun).toEqual([0, 9, 10]);
    expect(door.dropped).toBe(8);
  });

  it('lets values in in order up to its bound, and then leaves out what comes all the same', async () => {
    const { begun, door, values, finishNext } = scene();
    for (let i = 0; i < MAX_UNDER_WAY; i += 1) {
      expect(door.room()).toBeUndefined();
      door.offer(values(i));
    }
    const room = door.room();
    let there = false;
    void room!.then(() => (there = true));
    door.offer(values(999));
    expect(door.dropped).toBe(1);
    await Promise.resolve();
    expect(there).toBe(false);
    await finishNext();
    await room;
    door.offer(values(MAX_UNDER_WAY));
    expect(begun).toEqual(Array.from({ length: MAX_UNDER_WAY + 1 }, (_, i) => i));
  });

  it('is idle when everything that it let in is done, the held picture too', async () => {
    const { door, frame, values, finishNext } = scene();
    door.offer(frame(0));
    door.offer(frame(1));
    door.offer(values(2));
    let idle = false;
    const done = door.idle().then(() => (idle = true));
    await finishNext();
    await finishNext();
    expect(idle).toBe(false);
    await finishNext();
    await done;
  });
});
