/**
 * Patches of really fine-tuned models beside the best of zstd --patch-from, xdelta3 and bsdiff, and what applying one
 * takes of a device: speed and memory above idle, for floats and int8, with SKEIN_LONG=1 up to 500 MB.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { diffFiles } from '@skein/agent/model/disk-patch.ts';
import { makePatch } from '@skein/protocol/delta/make.ts';
import { seededUniform } from '@skein/protocol/drift/bootstrap.ts';
import type { Applied } from '../delta/apply-child.ts';
import { fineTunes, type Pair } from '../delta/fine-tunes.ts';
import { missingPeers, peerSizes } from '../delta/peers.ts';
import { hasData } from '../reference-models.ts';
import type { Emit } from './measurement.ts';

const BENCH = 'delta';
const MB = 1_000_000;
const CHILD = join(import.meta.dirname, '..', 'delta', 'apply-child.ts');
const execute = promisify(execFile);

/** Largest share of the best tool's patch. */
const SHARE = { all: 0.85, last: 1 } as const;
const LEAST_SPEED_MB = 10;
const MOST_MEMORY_MB = 16;

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

async function ratio({ name, moved, type, old, now }: Pair, emit: Emit): Promise<void> {
  const ours = makePatch(old, now, sha256).reduce((sum, piece) => sum + piece.length, 0);
  const peers = await peerSizes(old, now);
  const [best, size] = Object.entries(peers).toSorted((a, b) => a[1] - b[1])[0] ?? ['none', Number.NaN];
  const metric = `${name}, ${moved === 'all' ? 'all' : 'last layer'} ${type}`;
  const holds = Number.isNaN(size) ? null : ours <= size * SHARE[moved];
  emit({
    bench: BENCH,
    metric,
    value: ours / size,
    unit: `× ${best}`,
    bar: `≤ ${SHARE[moved]} of ${size} B`,
    holds,
  });
}

/** Weights that all move, of `bytes` bytes; written by and by, so that 500 MB need no memory here. */
async function synthetic(path: string, type: 'fp32' | 'int8', bytes: number, version: 0 | 1): Promise<void> {
  const [weights, moves] = [seededUniform(1), seededUniform(2)];
  const file = createWriteStream(path);
  const count = 65_536;
  for (let done = 0; done < bytes; ) {
    const length = Math.min(count, (bytes - done) / (type === 'fp32' ? 4 : 1));
    const values = Float32Array.from({ length }, () => {
      const value = weights() + weights() - 1;
      const move = (moves() - 0.5) * 0.01 * version;
      return value * 0.05 + move * 0.05;
    });
    const chunk =
      type === 'fp32'
        ? Buffer.from(values.buffer)
        : Buffer.from(Int8Array.from(values, (v) => Math.round(v * 2540)));
    done += chunk.length;
    if (!file.write(chunk)) await new Promise<void>((drained) => file.once('drain', () => drained()));
  }
  file.end();
  await finished(file);
}

async function applying(type: 'fp32' | 'int8', megabytes: number, emit: Emit): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-delta-'));
  const at = (name: string) => join(folder, name);
  try {
    await synthetic(at('old'), type, megabytes * MB, 0);
    await synthetic(at('new'), type, megabytes * MB, 1);
    const started = performance.now();
    await diffFiles({ old: at('old'), now: at('new'), patch: at('patch') }, () => {});
    const title = `${type}, ${megabytes} MB:`;
    const say = (metric: string, value: number, unit: string, bar: string | null, holds: boolean | null) =>
      emit({ bench: BENCH, metric: `${title} ${metric}`, value, unit, bar, holds });
    say('make', megabytes / ((performance.now() - started) / 1000), 'MB/s', null, null);
    const args = ['--expose-gc', CHILD, at('old'), at('patch'), at('made')];
    const { stdout } = await execute(process.execPath, args);
    const { newBytes, seconds, cpuSeconds, idleBytes, peakBytes } = JSON.parse(stdout) as Applied;
    const speed = newBytes / MB / seconds;
    const perCore = newBytes / MB / cpuSeconds;
    say('apply', speed, 'MB/s', null, null);
    say('apply, of one core', perCore, 'MB/s', `≥ ${LEAST_SPEED_MB}`, perCore >= LEAST_SPEED_MB);
    const memory = (peakBytes - idleBytes) / MB;
    say('memory above idle', memory, 'MB', `≤ ${MOST_MEMORY_MB}`, memory <= MOST_MEMORY_MB);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function run(emit: Emit): Promise<void> {
  const missing = missingPeers();
  if (missing.length > 0)
    process.stderr.write(
      `Skipping ${missing.join(', ')}: not installed. → apt-get install ${missing.join(' ')}\n`,
    );
  if (hasData()) for await (const pair of fineTunes()) await ratio(pair, emit);
  else
    process.stderr.write('Skipping the fine-tunes: the models and data of ../shared/data are not there.\n');
  await applying('fp32', 24, emit);
  await applying('int8', 12, emit);
  if (process.env.SKEIN_LONG === '1') await applying('fp32', 500, emit);
}
