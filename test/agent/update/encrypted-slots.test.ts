/** The model store on real files with encryption on: what lies there, what any reader gets, and switching it on and off. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readBlob } from '@skein/agent/at-rest/disk-blob.ts';
import { type BlobCipher, blobCipher, HEADER_BYTES } from '@skein/agent/at-rest/node-blob-cipher.ts';
import type { Supply } from '@skein/agent/update/blob-supply.ts';
import { bringByDelta, type Deltas } from '@skein/agent/update/delta-download.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import type { Slots } from '@skein/agent/update/ports.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { patchOf, tuned, twoLayers } from '../../protocol/delta/pairs.ts';

const MARKER = 'plaintext-marker-of-a-model';
const KEY = randomBytes(32);
const KEYED = blobCipher(KEY);
const blob = Buffer.concat([Buffer.from(MARKER), randomBytes(700_001), Buffer.from(MARKER)]);
const sha = createHash('sha256').update(blob).digest('hex');
const code = (wanted: string) => expect.objectContaining({ code: wanted });
let directory: string;
let rewritten: number;
beforeEach(() => {
  directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'skein-blobs-'));
  rewritten = 0;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const open = (cipher?: BlobCipher): Promise<Slots> =>
  openDiskSlots({ directory, cipher, freeBytes: async () => 1e9, rewritten: () => void rewritten++ });
const onDisk = (name = sha) => readFileSync(join(directory, name));
/** Written in pieces of all lengths, broken off once in the middle of a block of the cipher. */
async function put(slots: Slots, breakAt = 300_007): Promise<void> {
  const first = await slots.writer(sha, blob.length);
  for (let at = 0, piece = 1; at < breakAt; at += piece, piece = (piece * 7 + 1) % 90_001)
    await first.write(blob.subarray(at, Math.min(breakAt, at + piece)));
  await first.abandon();
  const second = await slots.writer(sha, blob.length);
  expect(second.offset).toBe(breakAt);
  await second.write(blob.subarray(breakAt));
  await second.finish();
}

describe('an encrypted model store', () => {
  it('leaves nothing readable on the disk, where the same without encryption does', async () => {
    await put(await open());
    expect(onDisk().includes(MARKER)).toBe(true);
    rmSync(join(directory, sha));
    const slots = await open(KEYED);
    const writer = await slots.writer(sha, blob.length);
    await writer.write(blob.subarray(0, 5000));
    await writer.abandon();
    expect(onDisk(`${sha}.part`).includes(MARKER)).toBe(false);
    rmSync(join(directory, `${sha}.part`));
    await put(slots);
    expect(onDisk().includes(MARKER)).toBe(false);
    expect(Buffer.from(await slots.read(sha)).equals(blob)).toBe(true);
    expect(await slots.list()).toEqual([{ sha256: sha, size: blob.length }]);
    expect(statSync(join(directory, sha)).size, 'writes 32 bytes more').toBe(blob.length + 32);
  });

  it('gives whoever reads at any place the bytes in clear: peers, patches, loaders', async () => {
    const slots = await open(KEYED);
    await put(slots);
    const reader = (await slots.reader(sha))!;
    for (const [offset, length] of [
      ...[
        [0, 10],
        [1, 1],
        [15, 18],
        [16, 16],
        [700_000, 99],
        [blob.length - 3, 10],
        [blob.length, 5],
      ],
    ] as [number, number][]) {
      const wanted = blob.subarray(offset, offset + length);
      expect(Buffer.from(await reader.read(offset, length)), `${offset}+${length}`).toEqual(wanted);
      const buffer = new Uint8Array(length);
      expect(Buffer.from(await reader.read(offset, length, buffer))).toEqual(wanted);
    }
    await reader.close();
    expect((await readBlob(join(directory, sha), KEY)).equals(blob)).toBe(true);
  });

  it('makes a blob from a patch of one that is encrypted', async () => {
    const [was, is] = [tuned(8 * 1280, 0.01, 1), tuned(8 * 320, 0.01, 2)];
    const [old, now] = [twoLayers(was.was, is.was), twoLayers(was.now, is.now)];
    const patch = patchOf(old, now);
    const slots = await open(KEYED);
    const nameOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    const writer = await slots.writer(nameOf(old), old.length);
    await writer.write(old);
    await writer.finish();
    const supply: Supply = {
      doubt: () => false,
      async *bytes({ sha256 }) {
        if (sha256 === nameOf(patch)) yield patch;
      },
    };
    const deltas: Deltas = {
      base: slots,
      log: { info() {}, warn() {}, error() {} },
      offers: async () => [{ from: nameOf(old), patch: nameOf(patch), sizeBytes: patch.length }],
    };
    const watch = { stop: () => false, rate: undefined, wrote: () => {} };
    const blobOf = { sha256: nameOf(now), size: now.length };
    expect(await bringByDelta(deltas, supply, slots, blobOf, watch)).toBe('done');
    expect(Buffer.from(now).equals(await readBlob(join(directory, nameOf(now)), KEY))).toBe(true);
  });

  it('never uses a nonce twice, also for the same bytes', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) seen.add(Buffer.from(KEYED.header()).toString('hex'));
    expect(seen.size).toBe(20);
    await put(await open(KEYED));
    const before = onDisk();
    rmSync(join(directory, sha));
    await put(await open(KEYED));
    expect(onDisk().subarray(HEADER_BYTES, HEADER_BYTES + 64)).not.toEqual(
      before.subarray(HEADER_BYTES, HEADER_BYTES + 64),
    );
  });

  it('forgets a blob with a wrong byte, to fetch it again, unless the byte says nothing of the blob', async () => {
    const slots = await open(KEYED);
    await put(slots);
    const whole = onDisk();
    const says = [0, 7, 16, 27, HEADER_BYTES, 400_000, whole.length - 1];
    for (const at of [...says, 8, 13, 14, 31]) {
      const spoilt = Buffer.from(whole);
      spoilt[at]! ^= 1;
      writeFileSync(join(directory, sha), spoilt);
      const read = await slots.read(sha).then(
        (bytes) => blob.equals(bytes),
        ({ code: said }) => said as string,
      );
      if (says.includes(at)) expect([at, read, await slots.has(sha)]).toEqual([at, 'BLOB_MISMATCH', false]);
      else expect([at, read]).toEqual([at, true]);
    }
  });

  it('begins a part anew whose header was torn', async () => {
    const slots = await open(KEYED);
    for (const torn of [new Uint8Array(0), new Uint8Array(20), new Uint8Array(5000)]) {
      writeFileSync(join(directory, `${sha}.part`), torn);
      expect(await slots.partSize(sha)).toBe(0);
      const writer = await slots.writer(sha, blob.length);
      expect(writer.offset).toBe(0);
      await writer.write(blob);
      await writer.finish();
      expect((await readBlob(join(directory, sha), KEY)).equals(blob)).toBe(true);
    }
  });
});

describe('a key that is not the one', () => {
  it('is refused, and nothing is deleted', async () => {
    await put(await open(KEYED));
    const before = onDisk();
    const other = blobCipher(randomBytes(32));
    await expect(open(other)).rejects.toEqual(code('DATA_KEY_WRONG'));
    await expect(open(blobCipher(randomBytes(32), false))).rejects.toEqual(code('DATA_KEY_WRONG'));
    await expect((await open()).read(sha)).rejects.toEqual(code('DATA_KEY_NEEDED'));
    await expect(readBlob(join(directory, sha))).rejects.toEqual(code('DATA_KEY_NEEDED'));
    await expect(readBlob(join(directory, sha), randomBytes(32))).rejects.toEqual(code('DATA_KEY_WRONG'));
    expect([rewritten, onDisk().equals(before)]).toEqual([1, true]);
  });
});

describe('encryption that is switched', () => {
  it('on encrypts what was there, and begins parts anew', async () => {
    const clear = await open();
    await put(clear);
    const part = 'a'.repeat(64);
    writeFileSync(join(directory, `${part}.part`), MARKER);
    const slots = await open(KEYED);
    expect(rewritten).toBe(1);
    expect(readdirSync(directory)).toEqual([sha]);
    expect(onDisk().includes(MARKER)).toBe(false);
    expect(Buffer.from(await slots.read(sha)).equals(blob)).toBe(true);
  });

  it('off brings it back into clear, and removes what was damaged', async () => {
    await put(await open(KEYED));
    await open(blobCipher(KEY, false));
    expect(onDisk().equals(blob)).toBe(true);
    writeFileSync(join(directory, sha), 'rubbish');
    await open(KEYED);
    expect(readdirSync(directory)).toEqual([]);
  });
});
