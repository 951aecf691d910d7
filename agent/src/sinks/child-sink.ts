/**
 * Predictions as JSON lines on the standard input of a supervised command. It is started again when it ends (1 s, 2 s …
 * 60 s, the upper half by chance). A command that does not read fills its pipe, and from then on nothing is written until
 * it does: the queue before this drops the oldest. What was in the pipe of a command that ended is lost with it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { stopGroup } from '../child-group.ts';
import { lastWords } from '../last-words.ts';
import { restartDelayMs } from '../uplink/backoff.ts';
import type { SinkItem, Transport } from './port.ts';

interface Running {
  child: ChildProcess;
  gone: Promise<void>;
}

/** For a command that ends by itself at the end of its input. */
const AT_EOF_MS: Millis = 150;

const pause = (clock: Clock, ms: Millis) => new Promise<void>((resolve) => clock.after(ms, resolve));
const failed = (message: string, cause?: unknown): SkeinError =>
  new SkeinError('UNREACHABLE', message, { cause });

export function childTransport(
  command: string,
  { clock, entropy }: { clock: Clock; entropy: Entropy },
): Transport {
  let running: Running | undefined;
  let retry: Timer | undefined;
  let closed = true;
  let attempt = 0;
  let tell: { ready(): void; trouble(error: Error): void };

  const start = (): void => {
    const child = spawn('/bin/sh', ['-c', command], { detached: true, stdio: ['pipe', 'ignore', 'pipe'] });
    const words = lastWords();
    child.stderr.on('data', (chunk: Buffer) => words.hear(chunk));
    // EPIPE: how it ended is told by `close`.
    child.stdin.on('error', () => {});
    const gone = new Promise<void>((resolve) => {
      const over = (why: string): void => {
        if (running?.child === child) running = undefined;
        resolve();
        if (!closed) again(words.after(why));
      };
      child.once('error', (error) => over(`the command did not start: ${error.message}`));
      child.once('close', (code, signal) =>
        over(`the command ended ${signal ? `by ${signal}` : `with exit code ${code}`}`),
      );
    });
    running = { child, gone };
    tell.ready();
  };
  const again = (why: string): void => {
    const waitMs = restartDelayMs(attempt++, entropy);
    retry?.cancel();
    retry = clock.after(waitMs, start);
    tell.trouble(failed(`${why}; it is started again in ${(waitMs / 1000).toFixed(1)} s`));
  };

  return {
    open(ready, trouble) {
      closed = false;
      attempt = 0;
      tell = { ready, trouble };
      start();
    },
    async send(items, stopped) {
      const now = running;
      if (!now?.child.stdin?.writable) throw failed('the command does not run');
      if (!now.child.stdin.write(linesOf(items))) await drained(now, stopped);
      attempt = 0;
    },
    async close() {
      closed = true;
      retry?.cancel();
      const last = running;
      if (!last) return;
      last.child.stdin?.end();
      await Promise.race([last.gone, pause(clock, AT_EOF_MS)]);
      if (running) await stopGroup(last.child, last.gone);
    },
  };
}

const linesOf = (items: readonly SinkItem[]): string =>
  items.map(({ message }) => `${JSON.stringify(message)}\n`).join('');

/** The pipe took what was written. @throws SkeinError UNREACHABLE when the command ended instead */
async function drained({ child, gone }: Running, stopped: AbortSignal): Promise<void> {
  const ended = gone.then(() => {
    throw failed('the command ended');
  });
  try {
    await Promise.race([once(child.stdin!, 'drain', { signal: stopped }), ended]);
  } catch (cause) {
    throw failed((cause as Error).message, cause);
  }
}
