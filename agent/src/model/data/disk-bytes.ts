/** A file, or a part of one, as a stream of bytes read front to back in the memory of a few chunks; `.gz` is unpacked. */
import { createReadStream } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { crc32, createGunzip, createInflateRaw } from 'node:zlib';
import { SkeinError } from '@skein/protocol/errors.ts';
import { refuse } from './samples.ts';
import {
  MAX_DIRECTORY_BYTES,
  readDirectory,
  ZIP_LOCAL_BYTES,
  ZIP_TAIL_BYTES,
  type ZipEntry,
  zip64End,
  zipEnd,
} from './zip.ts';

const CHUNK_BYTES = 1 << 18;

export class ByteStream implements AsyncDisposable {
  readonly #where: string;
  readonly #stream: Readable;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array();
  #offset = 0;

  constructor(where: string, stream: Readable) {
    this.#where = where;
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  /** The next piece of any size; undefined at the end. @throws SkeinError SOURCE_INVALID */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#chunk.length === 0) await this.#refill();
    const chunk = this.#chunk;
    this.#chunk = chunk.subarray(chunk.length);
    this.#offset += chunk.length;
    return chunk.length === 0 ? undefined : chunk;
  }

  /** Exactly `count` bytes. @throws SkeinError SOURCE_INVALID when the file ends before, saying what was read */
  async take(count: number, what: string): Promise<Uint8Array> {
    if (this.#chunk.length >= count) return this.#cut(count);
    const whole = new Uint8Array(count);
    for (let filled = 0; filled < count; ) {
      if (this.#chunk.length === 0) await this.#refill();
      if (this.#chunk.length === 0)
        throw refuse(
          this.#where,
          `it ends after ${this.#offset} bytes, in ${what}: ${count} bytes, ${filled} are there`,
        );
      const part = this.#cut(Math.min(count - filled, this.#chunk.length));
      whole.set(part, filled);
      filled += part.length;
    }
    return whole;
  }

  async atEnd(): Promise<boolean> {
    if (this.#chunk.length === 0) await this.#refill();
    return this.#chunk.length === 0;
  }

  #cut(count: number): Uint8Array {
    const part = this.#chunk.subarray(0, count);
    this.#chunk = this.#chunk.subarray(count);
    this.#offset += count;
    return part;
  }

  async #refill(): Promise<void> {
    try {
      const next = await this.#chunks.next();
      const { buffer, byteOffset, length } = next.done ? new Uint8Array() : next.value;
      // Not the Buffer itself: its `slice` would share the memory.
      this.#chunk = new Uint8Array(buffer, byteOffset, length);
    } catch (cause) {
      if (cause instanceof SkeinError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw refuse(this.#where, `can not be read or unpacked: ${why}`, undefined, cause);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stream.destroy();
  }
}

const through = (from: Readable, to: Readable & NodeJS.WritableStream): Readable => {
  // What fails on the way destroys `to` with the error, and its reader sees it there.
  pipeline(from, to, () => undefined);
  return to;
};

export const isZipped = (path: string): boolean => path.endsWith('.gz');
/** The name without `.gz`, which says what kind of file it is. */
export const innerName = (path: string): string => (isZipped(path) ? path.slice(0, -3) : path);

export function openBytes(path: string): ByteStream {
  const file = createReadStream(path, { highWaterMark: CHUNK_BYTES });
  return new ByteStream(
    path,
    isZipped(path) ? through(file, createGunzip({ chunkSize: CHUNK_BYTES })) : file,
  );
}

async function readAt(file: FileHandle, where: string, offset: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  const { bytesRead } = await file.read(bytes, 0, count, offset);
  if (bytesRead !== count) throw refuse(where, 'cut short');
  return bytes;
}

/** The archive's entries, from its directory. @throws SkeinError SOURCE_INVALID */
export async function zipEntries(path: string): Promise<ZipEntry[]> {
  const { size } = await stat(path);
  await using file = await open(path);
  const tailBytes = Math.min(size, ZIP_TAIL_BYTES);
  let end = zipEnd(path, await readAt(file, path, size - tailBytes, tailBytes));
  if ('zip64At' in end) {
    if (end.zip64At + 56 > size) throw refuse(path, 'its directory lies beyond the end of the file');
    end = zip64End(path, await readAt(file, path, end.zip64At, 56));
  }
  if (end.sizeBytes > MAX_DIRECTORY_BYTES || end.offset + end.sizeBytes > size)
    throw refuse(path, 'its directory is too large or lies beyond the end of the file');
  return readDirectory(path, await readAt(file, path, end.offset, end.sizeBytes), end.entries, size);
}

/** One more byte than the directory says is a lie, and so is another checksum: neither is waited out. */
async function* checked(where: string, stream: Readable, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  let [bytes, sum] = [0, 0];
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    sum = crc32(chunk, sum);
    if (bytes > entry.sizeBytes)
      throw refuse(where, `unpacks to more than the ${entry.sizeBytes} bytes it names`);
    yield chunk;
  }
  if (bytes !== entry.sizeBytes)
    throw refuse(where, `unpacks to ${bytes} bytes, its directory names ${entry.sizeBytes}`);
  if (sum !== entry.crc) throw refuse(where, 'its checksum is wrong: the file is damaged');
}

/** The unpacked bytes of one entry. */
export async function openEntry(path: string, entry: ZipEntry): Promise<ByteStream> {
  const where = `${path}:${entry.name}`;
  await using file = await open(path);
  const head = new DataView((await readAt(file, where, entry.offset, ZIP_LOCAL_BYTES)).buffer);
  if (head.getUint32(0, true) !== 0x04034b50) throw refuse(where, 'its local header is damaged');
  const start = entry.offset + ZIP_LOCAL_BYTES + head.getUint16(26, true) + head.getUint16(28, true);
  if (entry.packedBytes === 0) return new ByteStream(where, Readable.from([]));
  const packed = createReadStream(path, {
    start,
    end: start + entry.packedBytes - 1,
    highWaterMark: CHUNK_BYTES,
  });
  const plain =
    entry.method === 'stored' ? packed : through(packed, createInflateRaw({ chunkSize: CHUNK_BYTES }));
  return new ByteStream(where, Readable.from(checked(where, plain, entry), { objectMode: true }));
}
