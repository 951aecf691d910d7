/**
 * HTTP/1.1 messages (RFC 9112), for the local API only: node:http costs more per request than a small model does.
 * Every part is bounded before it is kept, and takes as much memory as it has bytes.
 *
 *   head    request line + fields, ≤ {@link MAX_HEAD} with their CRLFs, one empty line may come before it; `http-head.ts`
 *   body    Content-Length octets, or chunks; ≤ {@link MAX_BODY}
 *
 * Pure: bytes in, requests out. What follows a request stays for the next {@link RequestReader.next}.
 */
import { type Bytes, KIB } from '@skein/protocol/units.ts';
import {
  type Head,
  HttpProblem,
  type HttpRequest,
  MAX_BODY,
  readFields,
  readHead,
  tooLarge,
} from './http-head.ts';

export const MAX_HEAD: Bytes = 16 * KIB;
/** Field lines of one chunked body's end, and of one chunk's size line. */
const MAX_TRAILER: Bytes = 4 * KIB;
const MAX_SIZE_LINE: Bytes = 256;
/** Pieces as they come from the network: smaller ones are joined, because each takes hundreds of bytes beside its own. */
const SMALL: Bytes = 8 * KIB;

const CRLF = '\r\n';
/** A client's requests have heads alike: one no longer than this is kept, and one with the same bytes not read again. */
const MAX_KEPT_HEAD: Bytes = KIB;

/** `filled` bytes have come of `size` that chunks have announced; `left` of the one under way, or what comes next. */
interface Chunked {
  body: Buffer;
  filled: Bytes;
  size: Bytes;
  left: Bytes | 'size' | 'trailer';
}

/** Into one buffer: kept apart, chunks of a byte would each take a hundred. */
function append(to: Chunked, bytes: Buffer): void {
  const needed = to.filled + bytes.length;
  if (needed > to.body.length) {
    const larger = Buffer.allocUnsafe(Math.min(MAX_BODY, Math.max(needed, 2 * to.body.length)));
    to.body.copy(larger, 0, 0, to.filled);
    to.body = larger;
  }
  bytes.copy(to.body, to.filled);
  to.filled = needed;
}

/** One connection's bytes, request by request. After a throw it is of no use. */
export class RequestReader {
  #chunks: Buffer[] = [];
  #size = 0;
  #head: Head | undefined;
  #before: { bytes: Buffer; head: Head } | undefined;
  #chunked: Chunked | undefined;

  /** Bytes that wait to be read. */
  get size(): Bytes {
    return this.#size;
  }

  /** A request has begun and is not whole. */
  get underWay(): boolean {
    return this.#head !== undefined || this.#size > 0;
  }

  /** The client waits for `100 Continue` before it sends the body; true once a request. */
  takeExpectation(): boolean {
    if (!this.#head?.expects) return false;
    this.#head.expects = false;
    return this.#size === 0;
  }

  push(bytes: Buffer): void {
    const last = this.#chunks.length - 1;
    const before = this.#chunks[last];
    if (before && before.length < SMALL && bytes.length < SMALL)
      this.#chunks[last] = Buffer.concat([before, bytes]);
    else this.#chunks.push(bytes);
    this.#size += bytes.length;
  }

  /** @returns the next whole request, or undefined when more bytes are needed. @throws HttpProblem */
  next(): HttpRequest | undefined {
    const again = this.#takeAgain();
    if (again) return again;
    this.#head ??= this.#takeHead();
    if (!this.#head) return undefined;
    const body = this.#head.length === 'chunked' ? this.#takeChunked() : this.#takeBody(this.#head.length);
    if (!body) return undefined;
    const { method, target, headers, keepAlive } = this.#head;
    this.#head = undefined;
    return { method, target, headers, keepAlive, body };
  }

  /** One request in one piece under the same head as the one before: of a client that asks again and again, most are. */
  #takeAgain(): HttpRequest | undefined {
    const [bytes] = this.#chunks;
    if (!this.#before || !bytes || this.#head || this.#chunks.length > 1) return undefined;
    const { bytes: kept, head } = this.#before;
    if (bytes.length - kept.length !== head.length) return undefined;
    if (bytes.compare(kept, 0, kept.length, 0, kept.length) !== 0) return undefined;
    this.#chunks = [];
    this.#size = 0;
    const { method, target, headers, keepAlive } = head;
    return { method, target, headers, keepAlive, body: bytes.subarray(kept.length) };
  }

  #takeHead(): Head | undefined {
    if (this.#size === 0) return undefined;
    let bytes = this.#joined();
    // RFC 9112, 2.2: an empty line before the request line.
    if (bytes.length >= 2 && bytes[0] === 13 && bytes[1] === 10) {
      this.#take(2);
      bytes = this.#joined();
    }
    const { bytes: kept, head: same } = this.#before ?? {};
    if (kept && bytes.length >= kept.length && bytes.compare(kept, 0, kept.length, 0, kept.length) === 0) {
      this.#take(kept.length);
      return same;
    }
    const end = bytes.indexOf('\r\n\r\n');
    if (end > MAX_HEAD || (end < 0 && bytes.length > MAX_HEAD))
      throw new HttpProblem(431, `request line and headers are longer than ${MAX_HEAD} bytes`);
    if (end < 0) return undefined;
    const head = readHead(bytes.toString('latin1', 0, end));
    const taken = this.#take(end + 4);
    // One that expects an answer of its own changes while it is answered.
    if (taken.length <= MAX_KEPT_HEAD && !head.expects) this.#before = { bytes: Buffer.from(taken), head };
    return head;
  }

  #takeBody(length: number): Buffer | undefined {
    return this.#size < length ? undefined : this.#take(length);
  }

  /** RFC 9112, 7.1. Extensions and trailers are checked and left out. */
  #takeChunked(): Buffer | undefined {
    this.#chunked ??= { body: Buffer.alloc(0), filled: 0, size: 0, left: 'size' };
    const state = this.#chunked;
    for (;;) {
      if (typeof state.left === 'number') {
        if (this.#size < state.left + 2) return undefined;
        append(state, this.#take(state.left));
        if (this.#take(2).toString('latin1') !== CRLF)
          throw new HttpProblem(400, 'a chunk does not end where it says');
        state.left = 'size';
      }
      const line = this.#takeLine(state.left === 'size' ? MAX_SIZE_LINE : MAX_TRAILER);
      if (line === undefined) return undefined;
      if (state.left === 'trailer') {
        if (line !== '') {
          readFields([line], 0);
          continue;
        }
        this.#chunked = undefined;
        return state.body.subarray(0, state.filled);
      }
      const size = /^([0-9a-f]{1,7})(?:[ \t]*;[\t\x20-\x7e]*)?$/i.exec(line)?.[1];
      if (size === undefined) throw new HttpProblem(400, 'a chunk has no size');
      state.size += Number.parseInt(size, 16);
      if (state.size > MAX_BODY) throw tooLarge();
      state.left = Number.parseInt(size, 16) || 'trailer';
    }
  }

  #takeLine(limit: Bytes): string | undefined {
    const bytes = this.#joined();
    const end = bytes.indexOf(CRLF);
    if (end > limit || (end < 0 && bytes.length > limit))
      throw new HttpProblem(400, 'a line of a chunk is too long');
    if (end < 0) return undefined;
    const line = this.#take(end).toString('latin1');
    this.#take(2);
    return line;
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#size)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  /** A small rest is copied: as a part of it, it would keep the memory of all that came before. */
  #take(length: Bytes): Buffer {
    const bytes = this.#joined();
    this.#size -= length;
    const rest = bytes.subarray(length);
    if (this.#size === 0) this.#chunks = [];
    else this.#chunks = [this.#size < length ? Buffer.from(rest) : rest];
    return bytes.subarray(0, length);
  }
}
