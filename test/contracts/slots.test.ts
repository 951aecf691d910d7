/** One suite for every adapter of the Slots port. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobFile } from '@skein/agent/at-rest/disk-blob.ts';
import { blobCipher, HEADER_BYTES } from '@skein/agent/at-rest/node-blob-cipher.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import type { Slots } from '@skein/agent/update/ports.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SimDisk, simSlots } from '../sim/disk.ts';

interface Subject {
  slots: Slots;
  /** What a power cut may leave of a part: `bytes` under its name. */
  tear(sha256: string, bytes: Uint8Array): Promise<void>;
  damage(sha256: string): Promise<void>;
  /** The same disk after a restart. */
  reopen(): Promise<Slots>;
  close(): Promise<void>;
}

const adapters: Record<string, () => Promise<Subject>> = {
  async disk() {
    const directory = await mkdtemp(join(tmpdir(), 'skein-slots-'));
    return {
      slots: await openDiskSlots({ directory }),
      tear: (sha, bytes) => writeFile(join(directory, `${sha}.part`), bytes),
      damage: (sha) => truncate(join(directory, sha), 1),
      reopen: () => openDiskSlots({ directory }),
      close: () => rm(directory, { recursive: true }),
    };
  },
  async 'disk, encrypted'() {
    const directory = await mkdtemp(join(tmpdir(), 'skein-slots-'));
    const cipher = blobCipher(randomBytes(32));
    return {
      slots: await openDiskSlots({ directory, cipher }),
      async tear(sha, bytes) {
        const file = await BlobFile.open(join(directory, `${sha}.part`), 'w', cipher);
        await file.write(0, bytes);
        await file.close();
      },
      damage: (sha) => truncate(join(directory, sha), HEADER_BYTES + 1),
      reopen: () => openDiskSlots({ directory, cipher }),
      close: () => rm(directory, { recursive: true }),
    };
  },
  async simulated() {
    const disk = new SimDisk();
    return {
      slots: simSlots(disk),
      tear: async (sha, bytes) => void disk.parts.set(sha, bytes),
      damage: async (sha) => void disk.blobs.set(sha, disk.blobs.get(sha)!.slice(0, 1)),
      reopen: async () => simSlots(disk),
      close: async () => {},
    };
  },
};

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);
const sha = createHash('sha256').update(bytes).digest('hex');
const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe.each(Object.keys(adapters))('slots on %s', (name) => {
  let subject: Subject;
  beforeEach(async () => {
    subject = await adapters[name]!();
  });
  afterEach(() => subject.close());

  const put = async (slots: Slots) => {
    const writer = await slots.writer(sha, bytes.length);
    await writer.write(bytes.subarray(writer.offset));
    await writer.finish();
  };

  it('has a blob only once it is complete and checked', async () => {
    const { slots } = subject;
    const writer = await slots.writer(sha, bytes.length);
    await writer.write(bytes.subarray(0, 400));
    expect(await slots.has(sha)).toBe(false);
    await writer.write(bytes.subarray(400));
    expect(await slots.has(sha)).toBe(false);
    await writer.finish();
    expect(await slots.has(sha)).toBe(true);
    expect(new Uint8Array(await slots.read(sha))).toEqual(bytes);
    expect(await slots.partSize(sha)).toBe(0);
  });

  it('goes on where an abandoned download stopped, also after a restart', async () => {
    const writer = await subject.slots.writer(sha, bytes.length);
    await writer.write(bytes.subarray(0, 300));
    await writer.abandon();
    const slots = await subject.reopen();
    expect(await slots.partSize(sha)).toBe(300);
    const again = await slots.writer(sha, bytes.length);
    expect(again.offset).toBe(300);
    await again.write(bytes.subarray(300));
    await again.finish();
    expect(new Uint8Array(await slots.read(sha))).toEqual(bytes);
  });

  it('refuses a blob whose prefix was torn, forgets the part, and takes it from the start then', async () => {
    const torn = bytes.slice(0, 500);
    torn[120]! ^= 0xff;
    await subject.tear(sha, torn);
    const writer = await subject.slots.writer(sha, bytes.length);
    await writer.write(bytes.subarray(writer.offset));
    await expect(writer.finish()).rejects.toEqual(code('BLOB_MISMATCH'));
    expect(await subject.slots.has(sha)).toBe(false);
    expect(await subject.slots.partSize(sha)).toBe(0);
    await put(subject.slots);
    expect(await subject.slots.has(sha)).toBe(true);
  });

  it('starts anew when a part is longer than the blob', async () => {
    await subject.tear(sha, new Uint8Array(bytes.length + 1));
    const writer = await subject.slots.writer(sha, bytes.length);
    expect(writer.offset).toBe(0);
    await writer.write(bytes);
    await writer.finish();
    expect(await subject.slots.has(sha)).toBe(true);
  });

  it('takes no byte past the size, and no blob that ends early', async () => {
    const writer = await subject.slots.writer(sha, 10);
    await expect(writer.write(bytes.subarray(0, 11))).rejects.toEqual(code('BLOB_TOO_LARGE'));
    await writer.write(bytes.subarray(0, 9));
    await expect(writer.finish()).rejects.toEqual(code('BLOB_MISMATCH'));
  });

  it('does not hand out a blob that was damaged on the disk, and forgets it', async () => {
    await put(subject.slots);
    await subject.damage(sha);
    await expect(subject.slots.read(sha)).rejects.toEqual(code('BLOB_MISMATCH'));
    expect(await subject.slots.has(sha)).toBe(false);
    await expect(subject.slots.read(sha)).rejects.toEqual(code('NOT_FOUND'));
  });

  it('prunes blobs and parts that nobody keeps, and nothing else', async () => {
    await put(subject.slots);
    const other = 'a'.repeat(64);
    await subject.tear(other, bytes);
    await subject.slots.prune(new Set([sha, other]));
    expect(await subject.slots.has(sha)).toBe(true);
    expect(await subject.slots.partSize(other)).toBe(bytes.length);
    await subject.slots.prune(new Set([other]));
    expect(await subject.slots.has(sha)).toBe(false);
    await subject.slots.prune(new Set());
    expect(await subject.slots.partSize(other)).toBe(0);
  });

  it('discards a blob, also one that is not there', async () => {
    await put(subject.slots);
    await subject.slots.discard(sha);
    await subject.slots.discard(sha);
    expect(await subject.slots.has(sha)).toBe(false);
  });
});

describe('slots on disk', () => {
  it('ask for space before the first byte and keep a reserve for the outbox', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'skein-slots-'));
    const slots = await openDiskSlots({ directory, freeBytes: async () => 16 * 1024 * 1024 + 999 });
    await expect(slots.writer(sha, 1000)).rejects.toEqual(code('DISK_FULL'));
    expect(await slots.partSize(sha)).toBe(0);
    await (await slots.writer(sha, 999)).abandon();
    await rm(directory, { recursive: true });
  });
});
