/**
 * What the agent adds to the raw runtime: around it in the pipeline, on the way to a worker and back, and to the event
 * loop. Each figure has its limit or peer in the same run and in turns with it; medians unless said otherwise.
 */
import { join } from 'node:path';
import { measureSettled } from '../settled-child.ts';
import type { Emit } from './measurement.ts';

export const run = (emit: Emit): Promise<void> =>
  measureSettled(join(import.meta.dirname, 'inference/measure.ts'), emit);
