/**
 * A device killed at any call that writes, renames, syncs or unlinks, from metadata to commit, is not bricked, takes no older
 * metadata, loads nothing that was not signed, and finishes after a restart. A few points by seed; all of them with SKEIN_LONG=1.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isOnPath } from '../../scripts/apt-tools.ts';
import { Chance } from '../sim/seeded.ts';
import { Matrix, type Point } from './crash/matrix.ts';
import { Scene, type Way } from './crash/scene.ts';

const LONG = process.env.SKEIN_LONG === '1';
const SEED = Number(process.env.SKEIN_SEED ?? randomInt(2 ** 31));
const SHORT_POINTS = 3;
const folder = mkdtempSync(join(tmpdir(), 'skein-crash-'));
let scene: Scene;
let matrix: Matrix;

beforeAll(async () => {
  scene = await Scene.open(folder);
  matrix = new Matrix(scene);
}, 600_000);
afterAll(() => {
  scene?.close();
  rmSync(folder, { recursive: true, force: true });
});

const nameOf = ({ way, syscall, file, nth }: Point) => `${way}: ${syscall} ${nth} of ${file || '.'}`;

/** Every failure by the point that it came from. */
async function sweep(points: Point[]): Promise<Record<string, string[]>> {
  const left = [...points];
  const failures: Record<string, string[]> = {};
  const worker = async () => {
    for (let point = left.pop(); point; point = left.pop()) {
      const wrong = await matrix.broken(point);
      if (wrong.length) failures[nameOf(point)] = wrong;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return failures;
}

describe.runIf(isOnPath('strace'))('a device killed on its way from metadata to commit', () => {
  it('finishes after a restart, whatever the call it was killed at', async () => {
    const startedAt = performance.now();
    const ways: Way[] = LONG ? ['first', 'next'] : ['next'];
    const all = (await Promise.all(ways.map((way) => matrix.points(way)))).flat();
    const chance = new Chance(SEED);
    const chosen = LONG ? all : Array.from({ length: SHORT_POINTS }, () => all[chance.below(all.length)]!);
    const failures = await sweep(chosen);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    const figures = `${chosen.length} of ${all.length} points, ${Object.keys(failures).length} failed`;
    console.log(`crash matrix: ${figures}, ${seconds} s, SKEIN_SEED=${SEED}`);
    expect(failures).toEqual({});
    if (LONG) expect(all.length).toBeGreaterThanOrEqual(200);
  }, 14_400_000);

  it('would be caught if it committed its trust after the install', async () => {
    const points = await matrix.points('next');
    const renamed = points.filter(({ syscall, file }) => syscall === 'rename' && file.startsWith('models/'));
    const wrong = await matrix.broken(renamed.at(-1)!, true);
    expect(wrong).toContain('killed: older metadata was accepted');
  }, 600_000);
});
