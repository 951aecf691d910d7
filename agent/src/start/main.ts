/** What the package's `skein-agent` runs: the daemon and its commands, as scripts beside this file. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { onKeepCompiled } from './keep.ts';
import { Scripts } from './node-scripts.ts';

const { CACHE_DIRECTORY: cache } = process.env;
const folder = __dirname;
const scripts = new Scripts(folder, cache ? join(cache, 'scripts') : undefined, createRequire(__filename));
onKeepCompiled(() => scripts.keep());
scripts.load('skein-agent-main.cjs');
