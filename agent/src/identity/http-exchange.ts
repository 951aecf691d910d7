/** One HTTP request and its answer. No redirect is followed, every body is bounded, a silent peer is given up. */
import {
  type Agent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';

export interface HttpRequest {
  /** https, but for mirrors that have only http. */
  url: URL;
  agent: Agent;
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  /** Without a byte for this long the request is given up. */
  silentMs: Millis;
}

const TIME_ERRORS = new Set(['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']);

/** @throws SkeinError UNREACHABLE, SERVER_NOT_TRUSTED */
export function openHttp(options: HttpRequest): Promise<IncomingMessage> {
  const { url, agent, method = 'GET', headers, body, silentMs } = options;
  return new Promise((resolve, reject) => {
    const open = url.protocol === 'http:' ? httpRequest : httpsRequest;
    const request = open(url, { agent, method, headers, timeout: silentMs }, resolve);
    request.once('timeout', () => request.destroy(new Error(`no answer for ${silentMs / 1000} s`)));
    request.once('error', (cause) => reject(networkError(url, cause)));
    request.end(body);
  });
}

export function networkError(url: URL, cause: Error & { code?: string }): SkeinError {
  if (cause instanceof SkeinError) return cause;
  const what = `${url.origin}: ${cause.message || cause.code}`;
  if (cause.code && TIME_ERRORS.has(cause.code))
    return new SkeinError('UNREACHABLE', what, {
      cause,
      fix: 'Set this device’s clock: certificates depend on it.',
    });
  if (/CERT|SELF_SIGNED|ISSUER|ALTNAME|UNABLE_TO_VERIFY/.test(cause.code ?? ''))
    return new SkeinError('SERVER_NOT_TRUSTED', what, {
      cause,
      fix: 'The server at this address is not the one this device is enrolled at.',
    });
  return new SkeinError('UNREACHABLE', what, { cause, fix: 'Check the network and that the server runs.' });
}

/** @throws SkeinError PAYLOAD_TOO_LARGE, UNREACHABLE */
export async function readBody(message: IncomingMessage, url: URL, maxBytes: Bytes): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes)
        throw new SkeinError('PAYLOAD_TOO_LARGE', `${url.pathname}: more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (cause) {
    message.destroy();
    throw networkError(url, cause as Error);
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

export interface HttpsAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Uint8Array;
}

/** @throws SkeinError UNREACHABLE, SERVER_NOT_TRUSTED, PAYLOAD_TOO_LARGE */
export async function exchange(options: HttpRequest, maxBytes: Bytes): Promise<HttpsAnswer> {
  const message = await openHttp(options);
  const body = await readBody(message, options.url, maxBytes);
  return { status: message.statusCode ?? 0, headers: message.headers, body };
}

/** The server's own problem, under its own code where we know it. */
export function answerError(url: URL, answer: Pick<HttpsAnswer, 'status' | 'body'>): SkeinError {
  const problem = problemOf(answer.body);
  const code: ErrorCode =
    problem.code && Object.hasOwn(ERROR_CODES, problem.code) ? (problem.code as ErrorCode) : 'UNREACHABLE';
  const message = problem.detail ?? problem.title ?? `unexpected status ${answer.status}`;
  return new SkeinError(code, `${url.pathname}: ${message}`, {
    ...(problem.fix ? { fix: problem.fix } : {}),
    data: { status: answer.status },
  });
}

function problemOf(body: Uint8Array): Partial<Record<'code' | 'detail' | 'title' | 'fix', string>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    if (typeof value !== 'object' || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter(([, part]) => typeof part === 'string'));
  } catch {
    return {};
  }
}
