/**
 * A device that loses power at any call from metadata to commit, on a disk that keeps what was synced and of the rest anything,
 * starts with a model that was signed, takes no older metadata, and finishes. A few disks by seed; all of them with SKEIN_LONG=1.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isOnPath } from '../../scripts/apt-tools.ts';
import { Chance } from '../sim/seeded.ts';
import { brokenAfter, type Cut, cuts, type Recording, record } from './crash/power-cuts.ts';
import { Scene, type Way } from './crash/scene.ts';

const LONG = process.env.SKEIN_LONG === '1';
const SEED = Number(process.env.SKEIN_SEED ?? randomInt(2 ** 31));
const SHORT_CUTS = 4;
const MORE = LONG ? 6 : 2;
const chance = new Chance(SEED);
const folder = mkdtempSync(join(tmpdir(), 'skein-power-'));
let scene: Scene;
const recordings = new Map<Way, Recording>();

beforeAll(async () => {
  if (!isOnPath('strace')) return;
  scene = await Scene.open(folder);
  const ways: Way[] = LONG ? ['first', 'next'] : ['next'];
  for (const way of ways) recordings.set(way, await record(scene, scene.copyOf(way), way));
}, 120_000);
afterAll(() => {
  scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

const nameOf = ({ way, at, call, loss, seed }: Cut) => `${way} ${at}: ${loss} after ${call}, ${seed}`;

/** Every failure by the cut that it came from. */
async function sweep(chosen: Cut[]): Promise<Record<string, string[]>> {
  const left = [...chosen];
  const failures: Record<string, string[]> = {};
  const worker = async () => {
    for (let cut = left.pop(); cut; cut = left.pop()) {
      const wrong = await brokenAfter(scene, cut);
      if (wrong.length) failures[nameOf(cut)] = wrong;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return failures;
}

const some = <T>(all: readonly T[], count: number): T[] =>
  Array.from({ length: count }, () => chance.pick(all));

describe.runIf(isOnPath('strace'))('a device that loses power on its way from metadata to commit', () => {
  it('finishes after a start on whatever the disk kept', async () => {
    const startedAt = performance.now();
    const all = [...recordings.values()].flatMap((recording) => [...cuts(scene, recording, SEED, MORE)]);
    const chosen = LONG ? all : some(all, SHORT_CUTS);
    const failures = await sweep(chosen);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    const figures = `${chosen.length} of ${all.length} disks, ${Object.keys(failures).length} failed`;
    console.log(`power loss: ${figures}, ${seconds} s, SKEIN_SEED=${SEED}`);
    expect(failures).toEqual({});
  }, 7_200_000);
});
