/** Batches waiting for their transaction: in order per device, devices taking turns, bounded both ways. */
import type { Channel } from '@skein/protocol/topics.ts';

export const DEVICE_QUEUE = 64;
export const TOTAL_QUEUE = 4096;

export interface Waiting {
  device: string;
  channel: Channel;
  payload: Uint8Array;
}

export interface Queue {
  /** False at a bound: nothing is kept then. */
  push(waiting: Waiting): boolean;
  /** Up to `limit`, one from each device in turn. */
  take(limit: number): Waiting[];
}

export function createQueue(): Queue {
  const queues = new Map<string, Waiting[]>();
  let total = 0;

  const push = (waiting: Waiting): boolean => {
    const own = queues.get(waiting.device) ?? [];
    if (own.length >= DEVICE_QUEUE || total >= TOTAL_QUEUE) return false;
    own.push(waiting);
    queues.set(waiting.device, own);
    total++;
    return true;
  };

  const take = (limit: number): Waiting[] => {
    const taken: Waiting[] = [];
    while (taken.length < limit && queues.size > 0) {
      const [device, own] = queues.entries().next().value!;
      taken.push(own.shift()!);
      queues.delete(device);
      // Back to the end of the line.
      if (own.length > 0) queues.set(device, own);
      total--;
    }
    return taken;
  };

  return { push, take };
}
