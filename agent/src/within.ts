/** Waiting for someone who may never answer. */
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';

/** `work`, or `refusal()` thrown after `ms` or when `stopped`; what `work` does later is nobody's business any more. */
export async function within<T>(
  work: Promise<T>,
  { clock, ms, stopped, refusal }: { clock: Clock; ms: Millis; stopped: AbortSignal; refusal: () => Error },
): Promise<T> {
  let refuse = (): void => {};
  const late = new Promise<never>((_, reject) => {
    refuse = () => reject(refusal());
  });
  const timer = clock.after(ms, refuse);
  if (stopped.aborted) refuse();
  stopped.addEventListener('abort', refuse);
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.cancel();
    stopped.removeEventListener('abort', refuse);
  }
}
