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
import {
  brokenAfter,
  brokenAsFound,
  type Cut,
  cuts,
  HONEST,
  lying,
  type Promises,
  type Recording,
  record,
} from './crash/power-cuts.ts';
import { Scene, type Way } from './crash/scene.ts';

const LONG = process.env.SKEIN_LONG === '1';
const SEED = Number(process.env.SKEIN_SEED ?? randomInt(2 ** 31));
const SHORT_CUTS = 2;
const LONG_LIES = 40;
const LONG_FIRSTS = 40;
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
}, 600_000);
afterAll(() => {
  scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

const nameOf = ({ way, at, call, loss, seed }: Cut) => `${way} ${at}: ${loss} after ${call}, ${seed}`;

/** Every failure by the cut that it came from. */
async function sweep(chosen: Cut[], promises: Promises = HONEST): Promise<Record<string, string[]>> {
  const left = [...chosen];
  const failures: Record<string, string[]> = {};
  const worker = async () => {
    for (let cut = left.pop(); cut; cut = left.pop()) {
      const wrong = await brokenAfter(scene, cut, promises);
      if (wrong.length === 0) continue;
      failures[nameOf(cut)] = wrong;
      console.log(nameOf(cut), wrong);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return failures;
}

/** What a disk lies about when it says that it has synced it, and what can still be promised there. */
const LIES: Record<string, { about(path: string, chance: Chance): boolean; promises: Promises }> = {
  'the database of trust': { about: (path) => path.startsWith('trust.db'), promises: HONEST },
  'the second copy of trust': { about: (path) => path.startsWith('trust.guard'), promises: HONEST },
  'the models': { about: (path) => path.startsWith('models'), promises: { ...HONEST, keptModels: false } },
  'the state of updates': {
    about: (path) => path.startsWith('update.db'),
    promises: { ...HONEST, keptModels: false },
  },
  everything: { about: () => true, promises: { keptModels: false, keptTrust: false } },
  'every second sync': { about: (_, by) => by.is(0.5), promises: { keptModels: false, keptTrust: false } },
};

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
  }, 14_400_000);

  it.runIf(LONG)(
    'finishes although power is lost, or it is killed, once more while it recovers',
    async () => {
      const startedAt = performance.now();
      const all = [...recordings.values()].flatMap((recording) => [...cuts(scene, recording, SEED, MORE)]);
      const failures: Record<string, string[]> = {};
      let disks = 0;
      for (const first of some(all, LONG_FIRSTS)) {
        const directory = scene.restored(first.way, first.image);
        const recovery = await record(scene, directory, first.way);
        scene.remove(directory);
        const { acted, proven } = first;
        const later = [...cuts(scene, recovery, SEED, MORE)].map((second) => ({
          ...second,
          acted: acted || second.acted,
          proven: proven || second.proven,
        }));
        // All that was written is there: that is what SIGKILL leaves.
        const killed = later.filter(({ loss }) => loss === 'everything');
        const chosen = [...some(later, 4), chance.pick(killed)];
        disks += chosen.length;
        for (const [name, wrong] of Object.entries(await sweep(chosen)))
          failures[`${nameOf(first)}; then ${name}`] = wrong;
      }
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      const figures = `${disks} disks, ${Object.keys(failures).length} failed`;
      console.log(`power loss while recovering: ${figures}, ${seconds} s, SKEIN_SEED=${SEED}`);
      expect(failures).toEqual({});
    },
    14_400_000,
  );

  it.each(LONG ? Object.keys(LIES) : [chance.pick(Object.keys(LIES))])(
    'loads nothing unsigned, and finishes, on a disk that lies about %s',
    async (name) => {
      const startedAt = performance.now();
      const { about, promises } = LIES[name]!;
      const of = (recording: Recording) => lying(recording, (path) => about(path, chance));
      const all = [...recordings.values()].flatMap((one) => [...cuts(scene, of(one), SEED, MORE)]);
      const chosen = some(all, LONG ? LONG_LIES : 1);
      const failures = await sweep(chosen, promises);
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      const figures = `${chosen.length} of ${all.length} disks, ${Object.keys(failures).length} failed`;
      console.log(`a lie about ${name}: ${figures}, ${seconds} s, SKEIN_SEED=${SEED}`);
      expect(failures).toEqual({});
    },
    14_400_000,
  );

  it('would be caught if a part were renamed before its bytes are there, or trust were not synced', async () => {
    const isFound = async (words: string, about: (path: string) => boolean): Promise<boolean> => {
      for (const cut of cuts(scene, lying(recordings.get('next')!, about), SEED, 0)) {
        if (cut.loss !== 'names' && cut.loss !== 'nothing') continue;
        const directory = scene.restored('next', cut.image);
        const wrong = await brokenAsFound(scene, directory, cut, HONEST);
        scene.remove(directory);
        if (wrong.some((what) => what.includes(words))) return true;
      }
      return false;
    };
    expect(await isFound('does not hash to its name', (path) => path.endsWith('.part'))).toBe(true);
    expect(await isFound('older metadata was accepted', (path) => /^trust/.test(path))).toBe(true);
    if (LONG) expect(await isFound('', () => false)).toBe(false);
  }, 600_000);
});
