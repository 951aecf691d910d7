import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDiskBlobs } from '@skein/fleet-server/blobs/disk-blobs.ts';
import type { Blobs } from '@skein/fleet-server/blobs/port.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let folder: string;

const adapters: [string, () => Promise<Blobs>][] = [['disk', () => openDiskBlobs(join(folder, 'blobs'))]];

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
async function* chunks(bytes: Uint8Array, size = 1000): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}
const refused = (code: string) => expect.objectContaining({ code });

describe.each(adapters)('blobs: %s', (_, open) => {
  const bytes = randomBytes(100_000);
  const sha = hashOf(bytes);
  let blobs: Blobs;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'skein-blobs-'));
    blobs = await open();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('gives back what was written, whole or any part of it', async () => {
    expect(await blobs.write(sha, chunks(bytes), bytes.length)).toBe(bytes.length);
    expect(await blobs.sizeOf(sha)).toBe(bytes.length);
    expect(await collect(blobs.read(sha))).toEqual(bytes);
    expect(await collect(blobs.read(sha, 99_990))).toEqual(bytes.subarray(99_990));
    expect(await collect(blobs.read(sha, 10, 70_000))).toEqual(bytes.subarray(10, 70_000));
    expect(await collect(blobs.read(sha, 5, 5))).toHaveLength(0);
    expect(await collect(blobs.read(sha, 99_999, 1e9))).toEqual(bytes.subarray(99_999));
  });

  it('keeps an empty blob', async () => {
    const empty = new Uint8Array();
    await blobs.write(hashOf(empty), chunks(empty), 0);
    expect(await blobs.sizeOf(hashOf(empty))).toBe(0);
    expect(await collect(blobs.read(hashOf(empty)))).toHaveLength(0);
  });

  it('has nothing that was not written whole: other bytes, too many, or a source that breaks off', async () => {
    await expect(blobs.write(sha, chunks(randomBytes(10)), 1000)).rejects.toEqual(refused('BLOB_MISMATCH'));
    await expect(blobs.write(sha, chunks(bytes), 99_999)).rejects.toEqual(refused('BLOB_TOO_LARGE'));
    async function* broken(): AsyncIterable<Uint8Array> {
      yield bytes.subarray(0, 5000);
      throw new Error('connection lost');
    }
    await expect(blobs.write(sha, broken(), bytes.length)).rejects.toThrow('connection lost');
    expect(await blobs.sizeOf(sha)).toBeUndefined();
    await expect(collect(blobs.read(sha))).rejects.toEqual(refused('NOT_FOUND'));
  });

  it('stops reading a source at the cap', async () => {
    let given = 0;
    async function* endless(): AsyncIterable<Uint8Array> {
      for (;;) {
        given += 1000;
        yield new Uint8Array(1000);
      }
    }
    await expect(blobs.write(sha, endless(), 10_000)).rejects.toEqual(refused('BLOB_TOO_LARGE'));
    expect(given).toBe(11_000);
  });

  it('takes the same blob again, also from two writers at once', async () => {
    await Promise.all([blobs.write(sha, chunks(bytes, 700), 1e6), blobs.write(sha, chunks(bytes, 900), 1e6)]);
    await blobs.write(sha, chunks(bytes), 1e6);
    expect(await collect(blobs.read(sha))).toEqual(bytes);
  });

  it.each(['../../etc/passwd', '', sha.toUpperCase(), `${sha}/..`, 'a'.repeat(63)])(
    'takes no name but a hash: %j',
    async (name) => {
      await expect(async () => blobs.sizeOf(name)).rejects.toEqual(refused('REQUEST_INVALID'));
      await expect(async () => blobs.write(name, chunks(bytes), 1e6)).rejects.toEqual(
        refused('REQUEST_INVALID'),
      );
    },
  );
});

describe('blobs on disk', () => {
  it('clears away what an upload left behind when the power went', async () => {
    folder = mkdtempSync(join(tmpdir(), 'skein-blobs-'));
    await openDiskBlobs(folder);
    writeFileSync(join(folder, 'incoming', 'half'), 'abc');
    await openDiskBlobs(folder);
    expect(readdirSync(join(folder, 'incoming'))).toEqual([]);
    rmSync(folder, { recursive: true });
  });
});
