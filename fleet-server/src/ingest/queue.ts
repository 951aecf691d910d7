/**
 * Batches waiting for their transaction: in order per device, devices taking turns, each within its allowance.
 *
 * Bounded in number and in bytes, per device and in all. What finds no room is refused, or kept *outside*, in order,
 * by a caller that can make its sender wait; the next room goes to those outside, devices taking turns again. So
 * memory is bounded by the bounds here and by what a broker reads of one connection at a time.
 */
import type { Channel } from '@skein/protocol/topics.ts';
import { type Bytes, MIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type Allowance, createAllowance, type Rates } from './allowance.ts';

export const BOUNDS = {
  device: { batches: 64, bytes: 8 * MIB },
  total: { batches: 4096, bytes: 64 * MIB },
} as const satisfies Record<string, { batches: number; bytes: Bytes }>;

/** How often allowances that are full again are forgotten. */
const FORGET_MS: Millis = 10 * SECOND;

export interface Waiting {
  device: string;
  channel: Channel;
  payload: Uint8Array;
}

export interface Queue {
  /** False at a bound: nothing is kept then. */
  push(waiting: Waiting): boolean;
  /** Keeps it until there is room and then says so. Only for senders that wait for it. */
  hold(waiting: Waiting, admitted: () => void): void;
  /** Up to `limit` batches and about `maxBytes`, one from each device in turn; those over their rate are left. */
  take(limit: number, maxBytes: Bytes, now: Millis): Waiting[];
  /** For work that was for nothing: a device that sends rubbish is heard less. */
  charge(device: string, batches: number, now: Millis): void;
  /** Nothing of this device is wanted any more; whoever waits for room is let go. */
  forget(device: string): void;
  /** Something waits, but no device may send now: when to look again. */
  nextInMs(now: Millis): Millis | undefined;
  readonly size: number;
  readonly bytes: Bytes;
}

interface Lane {
  batches: Waiting[];
  bytes: Bytes;
  outside: { waiting: Waiting; admitted: () => void }[];
}

/** @param slowed told of each batch that waits although there is time for it, because its device is over its rate, and of how many of it wait. */
export function createQueue(
  rates: Rates,
  slowed: (device: string, waiting: number) => void = () => {},
): Queue {
  /** Order of turns: whoever was served goes to the end. */
  const lanes = new Map<string, Lane>();
  const allowances = new Map<string, Allowance>();
  const told = new WeakSet<Waiting>();
  let size = 0;
  let bytes = 0;
  let forgetAt = 0;

  const allowanceOf = (device: string, now: Millis): Allowance => {
    const known = allowances.get(device) ?? createAllowance(rates, now);
    allowances.set(device, known);
    return known;
  };
  const roomFor = (lane: Lane, length: Bytes): boolean =>
    lane.batches.length < BOUNDS.device.batches &&
    size < BOUNDS.total.batches &&
    // The first of a device, and of all, always fits: a packet's own limit is below these.
    (lane.bytes === 0 || lane.bytes + length <= BOUNDS.device.bytes) &&
    (bytes === 0 || bytes + length <= BOUNDS.total.bytes);
  const laneOf = (device: string): Lane => lanes.get(device) ?? { batches: [], bytes: 0, outside: [] };
  const add = (lane: Lane, waiting: Waiting): void => {
    lane.batches.push(waiting);
    lane.bytes += waiting.payload.length;
    size++;
    bytes += waiting.payload.length;
    if (!lanes.has(waiting.device)) lanes.set(waiting.device, lane);
  };
  const remove = (lane: Lane): Waiting => {
    const waiting = lane.batches.shift()!;
    lane.bytes -= waiting.payload.length;
    size--;
    bytes -= waiting.payload.length;
    return waiting;
  };
  /** From outside, as far as there is room, devices taking turns. */
  const admit = (): void => {
    for (let moved = true; moved; ) {
      moved = false;
      for (const lane of lanes.values()) {
        const first = lane.outside[0];
        if (!first || !roomFor(lane, first.waiting.payload.length)) continue;
        lane.outside.shift();
        add(lane, first.waiting);
        first.admitted();
        moved = true;
      }
    }
  };
  const forget = (now: Millis): void => {
    if (now < forgetAt) return;
    forgetAt = now + FORGET_MS;
    for (const [device, allowance] of allowances) {
      if (!lanes.has(device) && allowance.full(now)) allowances.delete(device);
    }
  };

  return {
    get size() {
      return size;
    },
    get bytes() {
      return bytes;
    },
    push(waiting) {
      const lane = laneOf(waiting.device);
      // Nobody overtakes a batch of the same device that waits outside.
      if (lane.outside.length > 0 || !roomFor(lane, waiting.payload.length)) return false;
      add(lane, waiting);
      return true;
    },
    hold(waiting, admitted) {
      const lane = laneOf(waiting.device);
      lane.outside.push({ waiting, admitted });
      lanes.set(waiting.device, lane);
    },
    take(limit, maxBytes, now) {
      const taken: Waiting[] = [];
      let left = maxBytes;
      /** Devices passed over since one was served: a whole round of them means that nobody may send. */
      let passed = 0;
      while (taken.length < limit && left > 0 && size > 0 && passed < lanes.size) {
        const [device, lane] = lanes.entries().next().value!;
        lanes.delete(device);
        const first = lane.batches[0];
        const mayNot = first === undefined || allowanceOf(device, now).waitMs(now) > 0;
        if (mayNot) {
          if (first && !told.has(first)) slowed(device, lane.batches.length);
          if (first) told.add(first);
          passed++;
        } else {
          const waiting = remove(lane);
          allowanceOf(device, now).spend(1, waiting.payload.length, now);
          left -= waiting.payload.length;
          taken.push(waiting);
          passed = 0;
        }
        if (lane.batches.length > 0 || lane.outside.length > 0) lanes.set(device, lane);
      }
      admit();
      forget(now);
      return taken;
    },
    charge: (device, batches, now) => allowanceOf(device, now).spend(batches, 0, now),
    forget(device) {
      const lane = lanes.get(device);
      lanes.delete(device);
      allowances.delete(device);
      if (!lane) return;
      size -= lane.batches.length;
      bytes -= lane.bytes;
      for (const { admitted } of lane.outside) admitted();
      admit();
    },
    nextInMs(now) {
      const waits = [...lanes].flatMap(([device, lane]) =>
        lane.batches.length > 0 ? [allowanceOf(device, now).waitMs(now)] : [],
      );
      return waits.length > 0 ? Math.min(...waits) : undefined;
    },
  };
}
