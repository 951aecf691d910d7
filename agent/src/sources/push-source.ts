/**
 * Readings that programs on this device POST to the agent: one JSON object, an array or NDJSON. Bounds: the reader's own
 * (bytes, readings in one body) and {@link MAX_WAITING} that wait for the model; a body beyond it is refused as overload.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { type Paced, paced } from './paced.ts';
import type { ReadPayload } from './payload.ts';
import type { Source } from './port.ts';
import type { PushDoor } from './push-door.ts';

export const MAX_WAITING = 1_000;

export function pushSource(
  { name, stallAfterMs }: { name: string; stallAfterMs: Millis },
  clock: Clock,
  door: PushDoor,
  read: ReadPayload,
): Source {
  let close = (): void => {};
  let queue: Paced | undefined;
  return {
    name,
    stallAfterMs,
    start(handlers) {
      const waiting = paced(handlers);
      queue = waiting;
      close = door.open(name, (body) => {
        const rows = rowsOf(read, body, name, handlers.failed);
        if (waiting.waiting + rows.length > MAX_WAITING) throw overloaded(name, waiting.waiting);
        waiting.offer(rows.map((row) => ({ ts: clock.now(), mono: clock.mono(), source: name, ...row })));
        return rows.length;
      });
    },
    async stop() {
      close();
      queue?.stop();
    },
  };
}

/** Told here too: who sends may not look at its answers. */
function rowsOf(read: ReadPayload, body: Uint8Array, name: string, failed: (error: Error) => void) {
  try {
    return read(body, name);
  } catch (error) {
    failed(error as Error);
    throw error;
  }
}

const overloaded = (name: string, waiting: number): SkeinError =>
  new SkeinError('OVERLOADED', `${name}: ${waiting} readings wait for the model already`, {
    fix: 'Send the same body again later, and readings more slowly.',
  });
