/**
 * Hot swap while eight clients saturate the model: 200 activations of ever other versions, on the caller's thread and in
 * a worker. Version n multiplies by n, so an answer tells which file computed it. Every request counts, also those that
 * were under way: none may fail, none may carry another version's label. Memory is compared with what the saturated model
 * had after its first swaps, when the runtime is warm, in a process with the settings of the package and of an agent
 * that has started: by default V8's heap and the C library's arenas grow with every load, swaps or not.
 */
import { join } from 'node:path';
import { measureSettled } from '../settled-child.ts';
import type { Emit } from './measurement.ts';

export const run = (emit: Emit): Promise<void> =>
  measureSettled(join(import.meta.dirname, 'swap/saturate.ts'), emit);
