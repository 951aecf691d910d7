/**
 * The head of an HTTP/1.1 request (RFC 9112): its line and fields, and how long a body follows. Strict where leniency has
 * let requests be smuggled: CRLF only, no folded lines, no space before a colon, one Content-Length, never beside
 * Transfer-Encoding, `chunked` alone. Pure.
 */
import { type Bytes, MIB } from '@skein/protocol/units.ts';

export const MAX_BODY: Bytes = 16 * MIB;

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

export type Head = Omit<HttpRequest, 'body'> & { length: number | 'chunked'; expects: boolean };

const REQUEST_LINE =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (?:https?:\/\/[^\s/]+)?(\/[\x21-\x7e]*) HTTP\/1\.([01])$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Visible characters, spaces and tabs, and obs-text; no other control (RFC 9110, 5.5). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what it refuses
const FIELD_VALUE = /^[^\x00-\x08\x0a-\x1f\x7f]*$/;
const SINGLE = new Set(['content-length', 'transfer-encoding', 'host']);

export function readFields(lines: readonly string[], from: number): Map<string, string> {
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

export const tooLarge = (): HttpProblem => new HttpProblem(413, `the body is longer than ${MAX_BODY} bytes`);

export function readHead(text: string): Head {
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
