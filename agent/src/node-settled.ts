/**
 * What Node is told when a start is over.
 *
 * What V8 compiled of our code is kept for the next start: by the start of the package, and by Node where NODE_COMPILE_CACHE
 * names a folder, which else writes it when a process ends by itself. A device that loses its power never does, so each of
 * its starts would compile everything again.
 *
 * The heap may grow by a third of what is in use before it is collected, as V8 lets it on a board of 1 GB; with more memory
 * it waits until there is four times as much. And V8's middle compiler, Maglev, rests: in the first day it leaves 15 MB of
 * the C library's heap in pieces, which stay; what is hot still comes to its last compiler. Neither from the beginning: V8
 * takes no code that was compiled under other flags, neither Node's own nor what was kept.
 */
import { flushCompileCache } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { keepCompiled } from './start/keep.ts';

/** By then what a start needs has been compiled. */
const SETTLED_AFTER_MS: Millis = 5 * SECOND;

export const SETTLED_FLAGS = ['--heap-growing-percent=30', '--no-maglev'];

export function settle(): void {
  flushCompileCache();
  keepCompiled();
  for (const flag of SETTLED_FLAGS) setFlagsFromString(flag);
}

export const settleLater = (clock: Pick<Clock, 'after'>) => clock.after(SETTLED_AFTER_MS, settle);
