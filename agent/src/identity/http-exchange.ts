/**
 * One HTTP request and its answer. No redirect is followed, every body is bounded; a peer that is silent, or that lets its
 * answer trickle so as to hold the device up for ever, is given up.
 */
import {
  type Agent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { ERROR_CODES, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
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

/** A body must bring `bytes` in each `windowMs`, or end. */
export interface Pace {
  bytes: Bytes;
  windowMs: Millis;
  clock: Clock;
}

/** Connecting, asking and the head of the answer take no longer than this many silences. */
const HEAD_SILENCES = 2;
const TIME_ERRORS = new Set(['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']);

/** @throws SkeinError UNREACHABLE, SERVER_NOT_TRUSTED */
export function openHttp(options: HttpRequest): Promise<IncomingMessage> {
  const { url, agent, method = 'GET', headers, body, silentMs } = options;
  return new Promise((resolve, reject) => {
    const open = url.protocol === 'http:' ? httpRequest : httpsRequest;
    const request = open(url, { agent, method, headers, timeout: silentMs });
    const giveUp = () => request.destroy(new Error(`no answer for ${silentMs / 1000} s`));
    // Headers may trickle as well, and each byte of them sets the socket's own timer back.
    const late = setTimeout(giveUp, HEAD_SILENCES * silentMs);
    request.once('response', resolve);
    request.once('timeout', giveUp);
    request.once('error', (cause) => reject(networkError(url, cause)));
    for (const over of ['response', 'close']) request.once(over, () => clearTimeout(late));
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
export async function readBody(
  message: IncomingMessage,
  url: URL,
  maxBytes: Bytes,
  pace?: Pace,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  const watch = pace && watchPace(message, pace, () => size);
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
  } finally {
    watch?.cancel();
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

function watchPace(message: IncomingMessage, { bytes, windowMs, clock }: Pace, got: () => Bytes): Timer {
  let seen = 0;
  const look = () => {
    if (got() - seen < bytes) message.destroy(new Error('the transfer is too slow'));
    seen = got();
    timer = clock.after(windowMs, look);
  };
  let timer = clock.after(windowMs, look);
  return { cancel: () => timer.cancel() };
}

export interface HttpsAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Uint8Array;
}

/** @throws SkeinError UNREACHABLE, SERVER_NOT_TRUSTED, PAYLOAD_TOO_LARGE */
export async function exchange(options: HttpRequest, maxBytes: Bytes, pace?: Pace): Promise<HttpsAnswer> {
  const message = await openHttp(options);
  const body = await readBody(message, options.url, maxBytes, pace);
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
