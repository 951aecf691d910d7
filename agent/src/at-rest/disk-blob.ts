/**
 * A blob's file as if it lay in clear, whether it does or not: what is read was decrypted, what is written is encrypted, and
 * places are those of the blob. Without a cipher nothing is read or written beside the bytes themselves.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import {
  type BlobCipher,
  blobCipher,
  HEADER_BYTES,
  type Keystream,
  refuseEncrypted,
} from './node-blob-cipher.ts';

const CHUNK: Bytes = 256 * KIB;

export class BlobFile {
  readonly #file: FileHandle;
  readonly #streamAt: ((offset: Bytes) => Keystream) | undefined;
  /** Where writing goes on without a new cipher. */
  #writing: { at: Bytes; stream: Keystream } | undefined;

  private constructor(file: FileHandle, streamAt?: (offset: Bytes) => Keystream) {
    this.#file = file;
    this.#streamAt = streamAt;
  }

  /** `w`: a new one, as the cipher wants it. Otherwise as it is. @throws what the file system throws, SkeinError DATA_KEY_WRONG */
  static async open(path: string, flags: 'r' | 'r+' | 'w', cipher?: BlobCipher): Promise<BlobFile> {
    const file = await open(path, flags);
    if (!cipher || (flags === 'w' && !cipher.encrypts)) return new BlobFile(file);
    try {
      if (flags !== 'w') return new BlobFile(file, cipher.streamOf(await headOf(file)));
      const header = cipher.header();
      await writeAll(file, header, 0);
      return new BlobFile(file, cipher.streamOf(header));
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  get encrypted(): boolean {
    return this.#streamAt !== undefined;
  }

  get #start(): Bytes {
    return this.encrypted ? HEADER_BYTES : 0;
  }

  /** Of the blob, as far as it is there. */
  async size(): Promise<Bytes> {
    return (await this.#file.stat()).size - this.#start;
  }

  /** How many bytes came from `offset` on; 0 at the end. */
  async read(offset: Bytes, into: Uint8Array): Promise<Bytes> {
    const { bytesRead } = await this.#file.read(into, 0, into.length, this.#start + offset);
    if (this.#streamAt) into.set(this.#streamAt(offset).update(into.subarray(0, bytesRead)));
    return bytesRead;
  }

  /** From front to back, up to `end`; each chunk is valid until the next is asked for. */
  async *chunks(end: Bytes = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array, void> {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let at = 0; at < end; ) {
      const got = await this.read(at, buffer.subarray(0, Math.min(CHUNK, end - at)));
      if (got === 0) return;
      at += got;
      yield buffer.subarray(0, got);
    }
  }

  async write(offset: Bytes, bytes: Uint8Array): Promise<void> {
    const hidden = this.#streamAt ? this.#hide(this.#streamAt, offset, bytes) : bytes;
    await writeAll(this.#file, hidden, this.#start + offset);
  }

  #hide(streamAt: (offset: Bytes) => Keystream, offset: Bytes, bytes: Uint8Array): Uint8Array {
    const stream = this.#writing?.at === offset ? this.#writing.stream : streamAt(offset);
    this.#writing = { at: offset + bytes.length, stream };
    return stream.update(bytes);
  }

  sync = (): Promise<void> => this.#file.sync();
  close = (): Promise<void> => this.#file.close();
}

async function headOf(file: FileHandle): Promise<Uint8Array> {
  const head = new Uint8Array(HEADER_BYTES);
  const { bytesRead } = await file.read(head, 0, HEADER_BYTES, 0);
  return head.subarray(0, bytesRead);
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: Bytes): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await file.write(bytes, written, bytes.length - written, at + written)).bytesWritten;
}

/**
 * A whole blob in memory, which takes its size and a quarter of a MiB, as it does in clear.
 * @param key of the model store, for what is encrypted
 * @throws what the file system throws, SkeinError DATA_KEY_NEEDED, DATA_KEY_WRONG
 */
export async function readBlob(path: string, key?: Uint8Array): Promise<Buffer> {
  if (!key) {
    const bytes = await readFile(path);
    refuseEncrypted(bytes);
    return bytes;
  }
  const file = await BlobFile.open(path, 'r', blobCipher(key));
  try {
    const whole = Buffer.allocUnsafe(await file.size());
    let at = 0;
    for await (const chunk of file.chunks(whole.length)) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole.subarray(0, at);
  } finally {
    await file.close();
  }
}
