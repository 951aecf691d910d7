import { describe, expect, it } from 'vitest';
import { BOUNDS, createQueue, type Waiting } from '../../../fleet-server/src/ingest/queue.ts';

const UNBOUNDED = { batchesPerSecond: 1e9, bytesPerSecond: 1e12 };
const ALL_BYTES = 1e12;
const from = (device: string, id = 0, length = 4): Waiting => {
  const payload = new Uint8Array(Math.max(4, length));
  new DataView(payload.buffer).setUint32(0, id);
  return { device, channel: 'batch/predictions', payload };
};
const idOf = ({ payload }: Waiting): number => new DataView(payload.buffer).getUint32(0);

describe('batches that wait', () => {
  it('go in turns of devices, each device’s in order', () => {
    const queue = createQueue(UNBOUNDED);
    for (let i = 0; i < 5; i++) queue.push(from('loud', i));
    queue.push(from('calm', 7));
    const taken = queue.take(4, ALL_BYTES, 0).map((w) => `${w.device} ${idOf(w)}`);
    expect(taken).toEqual(['loud 0', 'calm 7', 'loud 1', 'loud 2']);
  });

  it('are bounded per device and in all, in number and in bytes', () => {
    const queue = createQueue(UNBOUNDED);
    const fill = (device: string, length: number) => {
      let count = 0;
      while (queue.push(from(device, count, length))) count++;
      return count;
    };
    expect(fill('a', 4)).toBe(BOUNDS.device.batches);
    expect(fill('b', 2 << 20)).toBe(BOUNDS.device.bytes / (2 << 20));
    for (let i = 0; i < 100; i++) fill(`c${i}`, 1 << 20);
    expect(queue.bytes).toBeLessThanOrEqual(BOUNDS.total.bytes);
    queue.take(1e6, ALL_BYTES, 0);
    for (let i = 0; i < 100; i++) fill(`d${i}`, 4);
    expect(queue.size).toBe(BOUNDS.total.batches);
  });

  it('are dropped with their device: those outside are let go, and others get the room', () => {
    const queue = createQueue(UNBOUNDED);
    const admitted: string[] = [];
    while (queue.push(from('gone'))) {}
    queue.hold(from('gone'), () => admitted.push('gone'));
    queue.push(from('other'));
    queue.forget('gone');
    queue.forget('stranger');
    expect(admitted).toEqual(['gone']);
    expect([queue.size, queue.bytes]).toEqual([1, 4]);
    expect(queue.take(9, ALL_BYTES, 0).map(({ device }) => device)).toEqual(['other']);
    expect(queue.push(from('gone'))).toBe(true);
  });

  it('come in from outside in order when there is room, and nothing overtakes them', () => {
    const queue = createQueue(UNBOUNDED);
    const admitted: number[] = [];
    for (let i = 0; i < 100; i++) {
      const waiting = from('loud', i);
      if (!queue.push(waiting)) queue.hold(waiting, () => void admitted.push(i));
    }
    expect(queue.take(10, ALL_BYTES, 0).map(idOf)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(admitted).toEqual([64, 65, 66, 67, 68, 69, 70, 71, 72, 73]);
    expect(queue.push(from('loud', 100))).toBe(false);
    const rest: number[] = [];
    for (let some = queue.take(7, ALL_BYTES, 0); some.length > 0; some = queue.take(7, ALL_BYTES, 0))
      rest.push(...some.map(idOf));
    expect(rest).toEqual(Array.from({ length: 90 }, (_, i) => i + 10));
    expect(queue.size).toBe(0);
    expect(queue.bytes).toBe(0);
  });

  it('keep a flood from delaying others: each is answered in the next group, whatever the flood does', () => {
    const slowed = new Map<string, number>();
    const queue = createQueue({ batchesPerSecond: 20, bytesPerSecond: 1e9 }, (device) =>
      slowed.set(device, (slowed.get(device) ?? 0) + 1),
    );
    const calm = Array.from({ length: 30 }, (_, i) => `calm-${i}`);
    let outside = 0;
    let flood = 0;
    for (let now = 0; now < 60_000; now += 100) {
      for (let i = 0; i < 50; i++) {
        // It sends no more while it is held, as its connection is not read.
        if (outside === 0 && !queue.push(from('flood'))) {
          outside++;
          queue.hold(from('flood'), () => void outside--);
        }
      }
      if (now % 1000 === 0) for (const device of calm) expect(queue.push(from(device, now))).toBe(true);
      const group = queue.take(40, ALL_BYTES, now);
      const devices = group.map((w) => w.device);
      flood += devices.filter((device) => device === 'flood').length;
      if (now % 1000 === 0) expect(calm.every((device) => devices.includes(device))).toBe(true);
    }
    expect(flood).toBeLessThanOrEqual(20 * 60 + 20 * 4 + 1);
    expect(flood).toBeGreaterThan(20 * 58);
    expect([...slowed.keys()]).toEqual(['flood']);
    expect(queue.size).toBeLessThanOrEqual(BOUNDS.device.batches);
  });

  it('leave who is over its rate, and say when to look again', () => {
    const queue = createQueue({ batchesPerSecond: 10, bytesPerSecond: 1e9 });
    for (let i = 0; i < 60; i++) queue.push(from('loud', i));
    expect(queue.take(100, ALL_BYTES, 0)).toHaveLength(40);
    expect(queue.take(100, ALL_BYTES, 0)).toHaveLength(0);
    const waitMs = queue.nextInMs(0)!;
    expect(waitMs).toBeGreaterThan(0);
    expect(queue.take(100, ALL_BYTES, waitMs)).toHaveLength(1);
    expect(createQueue(UNBOUNDED).nextInMs(0)).toBeUndefined();
  });

  it('cost a device that sends rubbish more of its allowance', () => {
    const queue = createQueue({ batchesPerSecond: 10, bytesPerSecond: 1e9 });
    for (let i = 0; i < 10; i++) queue.push(from('liar', i));
    let taken = 0;
    for (let one = queue.take(1, ALL_BYTES, 0); one.length > 0; one = queue.take(1, ALL_BYTES, 0)) {
      taken++;
      queue.charge('liar', 8, 0);
    }
    expect(taken).toBe(5);
  });
});
