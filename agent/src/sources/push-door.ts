/**
 * Where readings come in that are pushed: the agent's local API hands a body to the source of that name. A body is taken
 * whole or not at all, so that who sent it can send it again.
 */
import { SkeinError } from '@skein/protocol/errors.ts';

/** @returns how many readings were taken. @throws SkeinError SOURCE_INVALID, OVERLOADED */
export type Push = (body: Uint8Array) => number;

export interface PushDoor {
  /** @returns closes it again; a later one of the same name stays. */
  open(source: string, push: Push): () => void;
  /** @throws SkeinError NOT_FOUND, REQUEST_INVALID, OVERLOADED */
  push(source: string, body: Uint8Array): { accepted: number };
}

export function pushDoor(): PushDoor {
  const doors = new Map<string, Push>();
  return {
    open(source, push) {
      doors.set(source, push);
      return () => {
        if (doors.get(source) === push) doors.delete(source);
      };
    },
    push(source, body) {
      const push = doors.get(source);
      if (!push)
        throw new SkeinError('NOT_FOUND', `no source ${source.slice(0, 64)} takes readings here`, {
          fix: 'Configure it: `{ name: …, kind: http, model: … }` without `url`, and name it in the path.',
        });
      return { accepted: pushed(push, body) };
    },
  };
}

/** The sender's mistake, told to the sender. */
function pushed(push: Push, body: Uint8Array): number {
  try {
    return push(body);
  } catch (error) {
    if (!(error instanceof SkeinError) || error.code !== 'SOURCE_INVALID') throw error;
    throw new SkeinError('REQUEST_INVALID', error.message, {
      cause: error,
      ...(error.fix ? { fix: error.fix } : {}),
    });
  }
}
