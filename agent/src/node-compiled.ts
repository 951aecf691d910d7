/**
 * What V8 compiled of our code, kept for the next start where NODE_COMPILE_CACHE names a folder. Node writes it when a
 * process ends by itself, and a device that loses its power never does: each of its starts would compile everything again.
 */
import { flushCompileCache } from 'node:module';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Millis, SECOND } from '@skein/protocol/units.ts';

/** By then what a start needs has been compiled. */
const KEEP_AFTER_MS: Millis = 5 * SECOND;

export const keepCompiled = (clock: Pick<Clock, 'after'>) => clock.after(KEEP_AFTER_MS, flushCompileCache);
