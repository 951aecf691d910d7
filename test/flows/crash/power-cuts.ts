/**
 * A device that loses power: the writes, syncs and names of one real life are recorded by strace, and from them every disk
 * is made that may be found after power was lost at some call. On each the real device starts again.
 *
 * The record is held against what the life left on the real disk, so a call that was missed is noticed. SQLite's -shm
 * is written through memory and is not in it; it is made anew at each start.
 */
import { readFileSync } from 'node:fs';
import { sha256 } from '../../protocol/trust/simulated-repository.ts';
import { CALLS, type DiskOp, readDiskLog } from '../../sim/power/disk-log.ts';
import { type DiskImage, LOSSES, type Loss, LossyDisk } from '../../sim/power/lossy-disk.ts';
import { Chance } from '../../sim/seeded.ts';
import { type Life, liveUntil } from './device.ts';
import { imageOf, type Scene, until, type Way } from './scene.ts';

export interface Recording {
  way: Way;
  before: DiskImage;
  ops: readonly DiskOp[];
}

/** A disk after power was lost, and what the device had done by then. */
export interface Cut {
  way: Way;
  /** Calls that had ended, and the last of them. */
  at: number;
  call: string;
  loss: Loss;
  seed: number;
  image: DiskImage;
  /** It had begun to fetch or to load what the newer metadata names. */
  acted: boolean;
  /** It had reported the new release as committed. */
  proven: boolean;
}

/** Longest string of a log; a write is smaller. */
const STRING_MAX = 16 << 20;
/** Far more than a life takes: what is asked is whether it ends, on a machine that does other things too. */
const LIFE_MS = 150_000;

/** A whole undisturbed way from this directory, which it changes. */
export async function record(scene: Scene, directory: string, way: Way): Promise<Recording> {
  const before = imageOf(directory);
  const log = `${directory}.log`;
  const traced = CALLS.split(',').map((call) => `?${call}`);
  const words = ['-y', '-xx', '-s', String(STRING_MAX), '-e', `trace=${traced.join(',')}`, '-o', log];
  const ended = await scene.run(directory, way, words);
  if (ended.code !== 0) throw new Error(`the undisturbed way ended with ${ended.code}: ${ended.stderr}`);
  const ops = readDiskLog(readFileSync(log, 'utf8'), directory);
  const rebuilt = new LossyDisk(before);
  for (const op of ops) rebuilt.perform(op);
  const [made, real] = [digests(rebuilt.now()), digests(imageOf(directory))];
  const differ = [...new Set([...made.keys(), ...real.keys()])].filter((p) => made.get(p) !== real.get(p));
  if (differ.length > 0) throw new Error(`the record does not explain ${differ.join(', ')}`);
  return { way, before, ops };
}

/** The same life on a disk that says it has synced these, and has not. */
export const lying = (recording: Recording, about: (path: string, nth: number) => boolean): Recording => {
  const ops = recording.ops.filter((op, nth) => op.op !== 'sync' || !about(op.path, nth));
  return { ...recording, ops };
};

/** After each call the disks that may be found there, each different one once. @param more disks by chance at each call */
export function* cuts(scene: Scene, recording: Recording, seed: number, more: number): Iterable<Cut> {
  const { way, before, ops } = recording;
  const disk = new LossyDisk(before);
  const losses = [...LOSSES, ...Array<Loss>(more).fill('scattered')];
  const known = new Set<string>();
  let loads: Life['loads'] = [];
  let proven = false;
  for (const [nth, op] of ops.entries()) {
    disk.perform(op);
    if (op.op === 'told') {
      const life = JSON.parse(op.text.trimEnd().split('\n').at(-1)!) as Life;
      loads = life.loads;
      proven = life.outcomes.includes('committed');
    }
    const acted = scene.hasActed(loads, blobsOf(disk.now()));
    for (const [turn, loss] of losses.entries()) {
      const chosen = (seed + nth * 64 + turn) % 2 ** 32;
      const image = disk.after(loss, new Chance(chosen));
      const key = `${acted} ${proven} ${[...digests(image)].join()}`;
      if (known.has(key)) continue;
      known.add(key);
      yield { way, at: nth + 1, call: callOf(op), loss, seed: chosen, image, acted, proven };
    }
  }
}

const callOf = (op: DiskOp): string => ('path' in op ? `${op.op} ${op.path || '.'}` : op.op);

function* blobsOf(image: DiskImage): Iterable<string> {
  for (const path of image.keys()) if (path.startsWith('models/')) yield path.slice('models/'.length);
}

/** Of each file, without what is written through memory. */
function digests(image: DiskImage): Map<string, string> {
  const held = [...image].filter(([path]) => !path.endsWith('-shm')).sort(([a], [b]) => (a < b ? -1 : 1));
  return new Map(held.map(([path, bytes]) => [path, bytes ? sha256(bytes) : 'folder']));
}

/** What an honest disk can be held to, and a lying one can not. */
export interface Promises {
  /** Nothing lies under a final name that is not the whole of it, and a model runs before anyone is asked. */
  keptModels: boolean;
  /** What was seen is remembered. */
  keptTrust: boolean;
}
export const HONEST: Promises = { keptModels: true, keptTrust: true };

/** Starts a device on what is left and says what does not hold; empty: all of it does. */
export async function brokenAfter(scene: Scene, cut: Cut, promises = HONEST): Promise<string[]> {
  const directory = scene.restored(cut.way, cut.image);
  try {
    return [
      ...(await brokenAsFound(scene, directory, cut, promises)),
      ...(await brokenByStart(scene, directory, cut, promises)),
    ];
  } catch (thrown) {
    return [`bricked: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : thrown}`];
  } finally {
    scene.remove(directory);
  }
}

/** Before anything has started there. */
export async function brokenAsFound(
  scene: Scene,
  directory: string,
  { way, acted }: Pick<Cut, 'way' | 'acted'>,
  { keptModels, keptTrust }: Promises,
): Promise<string[]> {
  const wrong = keptModels ? scene.falseBlobs(directory) : [];
  if (way === 'next' && acted && keptTrust && (await scene.takesOlder(directory)))
    wrong.push('older metadata was accepted');
  return wrong.map((what) => `found: ${what}`);
}

async function brokenByStart(
  scene: Scene,
  directory: string,
  { way, proven }: Cut,
  { keptModels, keptTrust }: Promises,
): Promise<string[]> {
  const live = () => liveUntil({ ...scene.start(directory, until(way)), withinMs: LIFE_MS });
  let life = await live();
  const wrong = scene.unsigned(life);
  // Both copies gone: it says what it needs, and goes on when it is enrolled again.
  if (!keptTrust && life.said.some((text) => text.includes('NOT_ENROLLED'))) {
    scene.pin(directory);
    life = await live();
    wrong.push(...scene.unsigned(life));
  }
  if (life.committed !== until(way) || life.loads.at(-1)?.version !== until(way))
    wrong.push(`not finished: ${JSON.stringify(life)}`);
  if (keptModels) wrong.push(...scene.falseBlobs(directory).map((what) => `whole: ${what}`));
  if (keptModels && way === 'next' && life.booted === null) wrong.push('nothing ran before it asked anyone');
  if (keptModels && proven && life.booted !== until(way)) wrong.push(`it began with ${life.booted}`);
  if (way === 'next' && (await scene.takesOlder(directory))) wrong.push('whole: older metadata was accepted');
  return wrong;
}
