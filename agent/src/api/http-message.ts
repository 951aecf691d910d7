/**
 * HTTP/1.1 messages (RFC 9112), for the local API only: node:http costs more per request than a small model does.
 * Strict where leniency has let requests be smuggled: CRLF only, no folded lines, no space before a colon, one
 * Content-Length, never beside Transfer-Encoding, `chunked` alone. Every part is bounded before it is kept.
 *
 *   head    request line + fields, ≤ {@link MAX_HEAD} with their CRLFs, one empty line may come before it
 *   body    Content-Length octets, or chunks; ≤ {@link MAX_BODY}
 *
 * Pure: bytes in, requests out. What follows a request stays for the next {@link RequestReader.next}.
 */
import { type Bytes, KIB, MIB } from '@skein/protocol/units.ts';

export const MAX_HEAD: Bytes = 16 * KIB;
export const MAX_BODY: Bytes = 16 * MIB;
/** Field lines of one chunked body's end, and of one chunk's size line. */
const MAX_TRAILER: Bytes = 4 * KIB;
const MAX_SIZE_LINE: Bytes = 256;

export interface HttpRequest {
  method: string;
  /** Path and query. */
  target: string;
  /** Lower-case names; a repeated field's values are joined by `, ` (RFC 9110, 5.3). */
  headers: ReadonlyMap<string, string>;
  body: Uint8Array;
  /** The connection may carry another request. */
  keepAlive: boolean;
}

/** What a peer did wrong: the answer's status, after which the connection is of no use. */
export class HttpProblem extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

type Head = Omit<HttpRequest, 'body'> & { length: number | 'chunked'; expects: boolean };

const REQUEST_LINE =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (?:https?:\/\/[^\s/]+)?(\/[\x21-\x7e]*) HTTP\/1\.([01])$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Visible characters, spaces and tabs, and obs-text; no other control (RFC 9110, 5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what it refuses
const FIELD_VALUE = /^[^\x00-\x08\x0a-\x1f\x7f]*$/;
const SINGLE = new Set(['content-length', 'transfer-encoding', 'host']);

function readFields(lines: readonly string[], from: number): Map<string, string> {
  const headers = new Map<string, string>();
  for (let i = from; i < lines.length; i++) {
    const line = lines[i]!;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon));
    if (!FIELD_NAME.test(name)) throw new HttpProblem(400, 'a header field has no name');
    // Not trim(): it would take a bare line feed for white space.
    const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
    if (!FIELD_VALUE.test(value)) throw new HttpProblem(400, `header \`${name}\` holds a control character`);
    const key = name.toLowerCase();
    const before = headers.get(key);
    if (before !== undefined && SINGLE.has(key)) throw new HttpProblem(400, `header \`${key}\` comes twice`);
    headers.set(key, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/** RFC 9112, 6.3: what is ambiguous is refused, not guessed. */
function bodyLength(headers: ReadonlyMap<string, string>, minor: string): number | 'chunked' {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  if (coding !== undefined) {
    if (length !== undefined)
      throw new HttpProblem(400, 'both Content-Length and Transfer-Encoding are given');
    if (minor === '0') throw new HttpProblem(400, 'HTTP/1.0 has no Transfer-Encoding');
    if (coding.toLowerCase() !== 'chunked')
      throw new HttpProblem(501, `transfer coding \`${coding}\` is unknown`);
    return 'chunked';
  }
  if (length === undefined) return 0;
  if (!/^\d{1,15}$/.test(length)) throw new HttpProblem(400, 'Content-Length is not a whole number');
  if (Number(length) > MAX_BODY) throw tooLarge();
  return Number(length);
}

const tooLarge = (): HttpProblem => new HttpProblem(413, `the body is longer than ${MAX_BODY} bytes`);

function readHead(text: string): Head {
  const lines = text.split('\r\n');
  const [, method, target, minor] = REQUEST_LINE.exec(lines[0]!) ?? [];
  if (!method || !target || !minor) throw new HttpProblem(400, 'the request line is not one of HTTP/1.1');
  const headers = readFields(lines, 1);
  if (minor === '1' && headers.get('host') === undefined)
    throw new HttpProblem(400, 'the Host header is missing');
  const length = bodyLength(headers, minor);
  const expect = headers.get('expect')?.toLowerCase();
  if (expect !== undefined && expect !== '100-continue') throw new HttpProblem(417, `\`Expect: ${expect}\``);
  const connection = headers.get('connection')?.toLowerCase() ?? '';
  const keepAlive = minor === '1' ? !/\bclose\b/.test(connection) : /\bkeep-alive\b/.test(connection);
  return { method, target, headers, keepAlive, length, expects: expect !== undefined && length !== 0 };
}

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
    this.#head ??= this.#takeHead();
    if (!this.#head) return undefined;
    const body = this.#head.length === 'chunked' ? this.#takeChunked() : this.#takeBody(this.#head.length);
    if (!body) return undefined;
    const { method, target, headers, keepAlive } = this.#head;
    this.#head = undefined;
    return { method, target, headers, keepAlive, body };
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
