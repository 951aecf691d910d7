import { manifestOf, releaseOf, stagedModel } from '@skein/agent/update/release.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { describe, expect, it } from 'vitest';
import { AGREED } from './example.ts';
import { manifestFor } from './manifest.ts';

const HASH = 'a'.repeat(64);
const file = { sha256: HASH, size: 1 };
const good = manifestFor('1.1.0', file, file);
const candidate = { variant: 'fp32', backend: 'onnx', model: file };
const plan = { candidates: [candidate], left: [], measure: false, key: '', why: undefined };
const bytesOf = (manifest: object): Uint8Array => new TextEncoder().encode(JSON.stringify(manifest));
const released = (agent?: string) => releaseOf(AGREED, good, 700, plan as never, agent);
const slotsWith = (bytes: Uint8Array) => ({
  read: async () => bytes,
  pathOf: (sha256: string) => `/${sha256}`,
});

describe('the manifest of a release', () => {
  // Never on a disk: what was checked has the signed hash. Here it shows whether it is looked at again.
  const lacking: Partial<Manifest> = { ...good };
  delete lacking.licence;
  const slots = slotsWith(bytesOf(lacking));

  it('is checked when it comes', () => {
    expect(manifestOf(AGREED, bytesOf(good))).toEqual(good);
    expect(() => manifestOf(AGREED, bytesOf(lacking))).toThrow(/licence/);
  });

  it('is not checked again by the agent that did, at each of its starts', async () => {
    expect(await stagedModel(slotsWith(bytesOf(good)), released('1.2.0'), '1.2.0')).toMatchObject({
      manifest: good,
      variant: { id: 'fp32' },
    });
    await expect(stagedModel(slots, released('1.2.0'), '1.2.0')).resolves.toMatchObject({
      manifest: lacking,
    });
  });

  it.each([
    ['another agent did', released('1.2.0'), '1.3.0'],
    ['nobody is known to have', released(), '1.2.0'],
    ['who asks does not say who it is', released('1.2.0'), undefined],
  ])('is checked again where %s', async (_, release, agent) => {
    await expect(stagedModel(slots, release, agent)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });
});
