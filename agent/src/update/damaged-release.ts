/** What the disk did not keep of a release: found out when it does not load, removed, and told apart from a model that is bad. */
import type { Slots } from './ports.ts';
import type { Release } from './state.ts';

/** What has to be on the disk for it to run, as its stand-in too. */
export const blobsToRun = ({ manifest, golden, model, standIn }: Release) => [
  ...[manifest, golden, model],
  ...(standIn ? [standIn.model] : []),
];

/**
 * After a load that failed: removes blobs that are not what they should be. Model files are not read here: whoever loaded
 * one has hashed it.
 * @param code of the failure
 * @returns true: some of the release is not on this disk
 * @throws SkeinError DISK_FAILED
 */
export async function dropDamaged(slots: Slots, release: Release, code: string): Promise<boolean> {
  const { manifest, golden, model, standIn } = release;
  let lost = false;
  for (const { sha256 } of [manifest, golden]) {
    if (await slots.read(sha256).catch(() => undefined)) continue;
    lost = true;
    await slots.discard(sha256);
  }
  for (const { sha256 } of [model, ...(standIn ? [standIn.model] : [])]) {
    if (code === 'BLOB_MISMATCH' && !lost) await slots.discard(sha256);
    lost ||= !(await slots.has(sha256));
  }
  return lost;
}
