/**
 * Models on disk, by hash: `<dir>/<sha256>` is complete and was checked; `<dir>/<sha256>.part` is a prefix.
 *
 * A part's prefix is hashed again before it goes on, so a torn write is caught at the end at the latest. A blob
 * appears under its name only after fsync of its bytes, and its name survives a power cut only after fsync of the
 * directory: {@link Slots.writer}'s finish() returns after both.
 *
 * Space is reserved before the first byte: what is free must hold the rest of this blob, what other downloads were
 * promised, and `RESERVE` for the outbox; then the file system is asked to set the blocks aside, without writing them.
 * Where it can not, the promises of this process are all there is, and a disk that others fill ends in DISK_FULL with
 * the part kept.
 *
 * With a cipher all of them are encrypted; names and hashes stay those of the bytes in clear.
 */
import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { type Bytes, MIB, type Sha256Hex } from '@skein/protocol/units.ts';
import { BlobFile, readBlob } from '../at-rest/disk-blob.ts';
import { rewriteBlobs } from '../at-rest/disk-rewrite.ts';
import { type BlobCipher, HEADER_BYTES } from '../at-rest/node-blob-cipher.ts';
import type { BlobReader, BlobWriter, Slots } from './ports.ts';

const RESERVE: Bytes = 16 * MIB;
/** st_blocks counts these, whatever the file system's own are (stat(2)). */
const STAT_BLOCK: Bytes = 512;
const BLOB_NAME = /^[0-9a-f]{64}(\.part)?$/;

export interface DiskSlotsOptions {
  directory: string;
  /** Free bytes of the file system that holds `directory`. */
  freeBytes?: (directory: string) => Promise<Bytes>;
  /**
   * Sets the blocks of a file aside, up to `size`, without a change of its length. False: this file system can not.
   * @throws SkeinError DISK_FULL
   */
  reserve?: (path: string, size: Bytes) => Promise<boolean>;
  /** Absent: everything lies in clear. */
  cipher?: BlobCipher | undefined;
  /** Everything lies as `cipher` would write it now. */
  rewritten?: () => void;
  /** There was no room to write all of it anew. */
  trouble?: (error: SkeinError) => void;
}

/** @throws SkeinError DISK_FAILED when the directory can not be made, DATA_KEY_WRONG */
export async function openDiskSlots(options: DiskSlotsOptions): Promise<Slots> {
  const { cipher, directory, freeBytes = freeOn, reserve } = options;
  await guarded(mkdir(directory, { recursive: true }));
  if (cipher) await rewriteAll(options, cipher);
  const pathOf = (sha256: Sha256Hex): string => join(directory, sha256);
  const partOf = (sha256: Sha256Hex): string => `${pathOf(sha256)}.part`;
  /** What open writers may still take of the free space. */
  const promised = new Map<Sha256Hex, Bytes>();
  const lengthOf = (path: string): Promise<Bytes | undefined> =>
    stat(path).then(
      (found) => found.size,
      () => undefined,
    );
  /** Of the blob; of a part that does not lie as it is wanted nothing is of use. */
  const sizeAt = async (path: string, part = false): Promise<Bytes | undefined> => {
    const length = await lengthOf(path);
    if (!cipher || length === undefined) return length;
    const file = await guarded(BlobFile.open(path, 'r', cipher));
    await file.close();
    if (part && file.encrypted !== cipher.encrypts) return 0;
    return file.encrypted ? length - HEADER_BYTES : length;
  };
  const head = cipher?.encrypts ? HEADER_BYTES : 0;

  return {
    pathOf,
    has: async (sha256) => (await lengthOf(pathOf(sha256))) !== undefined,
    partSize: async (sha256) => (await sizeAt(partOf(sha256), true)) ?? 0,
    discard: (sha256) => guarded(rm(pathOf(sha256), { force: true })),

    async writer(sha256, size) {
      const offset = (await sizeAt(partOf(sha256), true)) ?? 0;
      if (offset > size) await rm(partOf(sha256), { force: true });
      const from = offset > size ? 0 : offset;
      const part = partOf(sha256);
      const needed = Math.max(0, size + head - Math.max(from, await allocatedAt(part)));
      const others = [...promised.values()].reduce((sum, bytes) => sum + bytes, 0);
      const free = await guarded(freeBytes(directory));
      if (free < needed + others + RESERVE) throw tooFull(needed, free, others);
      promised.set(sha256, needed);
      const done = () => void promised.delete(sha256);
      try {
        const file = await guarded(BlobFile.open(part, from === 0 ? 'w' : 'r+', cipher));
        try {
          // Blocks that are set aside are no longer free: the promise is kept.
          if (size - from >= WORTH_RESERVING && (await reserve?.(part, size + head))) done();
          const hash = await hashPrefix(file, from);
          const target = { file, hash, sha256, size, directory, part, path: pathOf(sha256), done };
          return new DiskBlobWriter(target, from);
        } catch (thrown) {
          await file.close();
          throw thrown;
        }
      } catch (thrown) {
        done();
        throw thrown;
      }
    },

    async read(sha256) {
      const bytes = await readBlob(pathOf(sha256), cipher?.key).catch((cause: unknown) => {
        if (cause instanceof SkeinError) throw cause;
        throw new SkeinError('NOT_FOUND', `blob ${sha256} is not on this disk`, { cause });
      });
      const found = createHash('sha256').update(bytes).digest('hex');
      if (found === sha256) return bytes;
      await rm(pathOf(sha256), { force: true });
      throw new SkeinError('BLOB_MISMATCH', `blob ${sha256} hashes to ${found} on this disk; it was removed`);
    },

    async reader(sha256) {
      const at = (path: string) => BlobFile.open(path, 'r', cipher).catch(() => undefined);
      const whole = await at(pathOf(sha256));
      if (whole) return readerOf(whole);
      const part = await at(partOf(sha256));
      // Its header is not written yet, or was torn.
      if (part && cipher && part.encrypted !== cipher.encrypts) return void (await part.close());
      return part && readerOf(part);
    },

    async list() {
      const names = (await guarded(readdir(directory))).filter((name) => /^[0-9a-f]{64}$/.test(name));
      const found = await Promise.all(
        names.map(async (sha256) => {
          const at = await stat(pathOf(sha256)).catch(() => undefined);
          return { sha256, at, size: cipher ? await sizeAt(pathOf(sha256)) : at?.size };
        }),
      );
      return found
        .flatMap(({ sha256, at, size }) =>
          at && size !== undefined ? [{ sha256, size, mtimeMs: at.mtimeMs }] : [],
        )
        .sort((a, b) => a.mtimeMs - b.mtimeMs)
        .map(({ sha256, size }) => ({ sha256, size }));
    },

    async prune(keep) {
      const names = await guarded(readdir(directory));
      const gone = names.filter((name) => BLOB_NAME.test(name) && !keep.has(name.slice(0, 64)));
      await Promise.all(gone.map((name) => guarded(rm(join(directory, name), { force: true }))));
    },
  };
}

/** Less than `RESERVE` leaves room for anyway. */
const WORTH_RESERVING: Bytes = MIB;

const tooFull = (needed: Bytes, free: Bytes, others: Bytes): SkeinError =>
  new SkeinError(
    'DISK_FULL',
    `${needed} bytes to fetch, ${free} free, ${RESERVE} kept in reserve${others > 0 ? `, ${others} promised to other downloads` : ''}`,
    { fix: 'Free space on the disk that holds the models, or order a smaller model.' },
  );

const readerOf = (file: BlobFile): BlobReader => ({
  async read(offset, length, into) {
    const buffer = (into ?? Buffer.allocUnsafe(length)).subarray(0, length);
    return buffer.subarray(0, await guarded(file.read(offset, buffer)));
  },
  close: () => file.close(),
});

interface Target {
  file: BlobFile;
  hash: Hash;
  sha256: Sha256Hex;
  size: Bytes;
  directory: string;
  part: string;
  path: string;
  /** Gives back what was promised. */
  done(): void;
}

class DiskBlobWriter implements BlobWriter {
  readonly #to: Target;
  #offset: Bytes;

  constructor(to: Target, offset: Bytes) {
    this.#to = to;
    this.#offset = offset;
  }

  get offset(): Bytes {
    return this.#offset;
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { file, hash, sha256, size } = this.#to;
    if (this.#offset + chunk.length > size) {
      throw new SkeinError('BLOB_TOO_LARGE', `blob ${sha256}: more than its ${size} bytes`);
    }
    await guarded(file.write(this.#offset, chunk));
    hash.update(chunk);
    this.#offset += chunk.length;
  }

  async finish(): Promise<void> {
    const { file, hash, sha256, size, part, path, directory, done } = this.#to;
    done();
    const found = hash.digest('hex');
    if (this.#offset !== size || found !== sha256) {
      await file.close();
      await rm(part, { force: true });
      throw new SkeinError(
        'BLOB_MISMATCH',
        `blob ${sha256}: ${this.#offset} of ${size} bytes hash to ${found}`,
        {
          fix: 'The part was removed; the next try starts from the first byte.',
        },
      );
    }
    await guarded(file.sync());
    await file.close();
    await guarded(rename(part, path));
    await syncDirectory(directory);
  }

  async abandon(): Promise<void> {
    // A write that failed may have left the handle unusable; the part stays and is hashed again next time.
    this.#to.done();
    await this.#to.file.close().catch(() => undefined);
  }
}

async function hashPrefix(file: BlobFile, length: Bytes): Promise<Hash> {
  const hash = createHash('sha256');
  for await (const chunk of file.chunks(length)) hash.update(chunk);
  return hash;
}

/** Encryption was switched on or off. Where there is no room, what was not reached can be read as it is. */
async function rewriteAll(
  { directory, rewritten, trouble }: DiskSlotsOptions,
  cipher: BlobCipher,
): Promise<void> {
  try {
    await guarded(rewriteBlobs(directory, cipher));
    rewritten?.();
  } catch (thrown) {
    const error = asSkeinError(thrown);
    if (error.code !== 'DISK_FULL') throw error;
    trouble?.(error);
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await guarded(open(directory, 'r'));
  try {
    await guarded(handle.sync());
  } finally {
    await handle.close();
  }
}

/** Bytes that a file has on the disk already, also those set aside past its end. */
const allocatedAt = (path: string): Promise<Bytes> =>
  stat(path).then(
    ({ blocks }) => blocks * STAT_BLOCK,
    () => 0,
  );

async function freeOn(directory: string): Promise<Bytes> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

async function guarded<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof SkeinError) throw cause;
    const full = ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '');
    throw new SkeinError(full ? 'DISK_FULL' : 'DISK_FAILED', asSkeinError(cause).message, { cause });
  }
}
