/** Takes the place of the agent of a state directory: nobody else uses it from then on. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { holdsOpen } from '../erase/linux-holder.ts';
import { lockState, type StateLock } from '../sqlite-lock.ts';
import { addressFile } from './local-client.ts';

/** A daemon that is asked to stop says good-bye, within its own bound. */
const STOP_MS: Millis = 20_000;
const LOOK_MS: Millis = 50;

/** @param stop end the agent that runs there first, cleanly @throws SkeinError CONFLICT while one runs */
export const takeState = async (folder: string, stop: boolean): Promise<StateLock> =>
  stop ? stopAgent(folder) : lockOrRefuse(folder);

function lockOrRefuse(folder: string): StateLock {
  try {
    return lockState(folder);
  } catch (thrown) {
    const { code, message } = asSkeinError(thrown);
    if (code !== 'CONFLICT') throw thrown;
    const fix = 'Say --stop to end it first, or stop it yourself (systemctl stop skein-agent).';
    throw new SkeinError(code, message, { cause: thrown, fix });
  }
}

/** Ends the agent that holds the state, and no other process, and takes its place. @throws SkeinError CONFLICT */
async function stopAgent(folder: string): Promise<StateLock> {
  let asked = false;
  for (let waited = 0; ; waited += LOOK_MS) {
    try {
      return lockState(folder);
    } catch (thrown) {
      if (asSkeinError(thrown).code !== 'CONFLICT' || waited >= STOP_MS) throw thrown;
      if (!asked) endAgent(folder, thrown);
      asked = true;
    }
    await after(LOOK_MS);
  }
}

function endAgent(folder: string, thrown: unknown): void {
  const known = addressIn(folder);
  const ours = known !== null && holdsOpen(known.pid, join(folder, 'agent.lock'));
  if (ours && signalled(known.pid)) return;
  throw new SkeinError('CONFLICT', `${asSkeinError(thrown).message}, and it can not be ended from here`, {
    cause: thrown,
    fix: 'Stop it yourself (systemctl stop skein-agent), or run this as its user.',
  });
}

function addressIn(folder: string): { pid: number } | null {
  try {
    return JSON.parse(readFileSync(addressFile(folder), 'utf8')) as { pid: number };
  } catch {
    return null;
  }
}

/** False when it is gone, or another user's. */
function signalled(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGTERM');
  } catch {
    return false;
  }
}
