/**
 * Ends a command that leads a process group, with its children: asked first (also when it was suspended), killed after
 * {@link KILL_AFTER_MS}, and not waited for beyond {@link GONE_AFTER_MS} when something that left the group holds its
 * pipes open.
 */
import type { ChildProcess } from 'node:child_process';
import type { Millis } from '@skein/protocol/units.ts';

const KILL_AFTER_MS: Millis = 400;
const GONE_AFTER_MS: Millis = 700;

/** @param child spawned `detached`, and not gone yet: a group that is gone may have given its number to another. */
export async function stopGroup(child: ChildProcess, gone: Promise<void>): Promise<void> {
  signalGroup(child, 'SIGTERM');
  signalGroup(child, 'SIGCONT');
  child.stdout?.resume();
  const killing = setTimeout(() => signalGroup(child, 'SIGKILL'), KILL_AFTER_MS);
  const letting = setTimeout(() => {
    for (const pipe of child.stdio) pipe?.destroy();
  }, GONE_AFTER_MS);
  await gone;
  clearTimeout(killing);
  clearTimeout(letting);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}
