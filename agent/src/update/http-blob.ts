/**
 * One blob, or a range of it, over HTTP. No redirect is followed, a body is cut off at the bytes that were asked for, and a
 * transfer below the low-speed limit is given up, to be resumed elsewhere. What came before a connection broke is handed on.
 */
import type { Agent, IncomingMessage } from 'node:http';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { answerError, networkError, openHttp, readBody } from '../identity/http-exchange.ts';

/** A transfer must bring `bytes` in each `windowMs` that it is waited for. */
export interface Patience {
  bytes: Bytes;
  windowMs: Millis;
}

/** For the last resort: a slow link is still a link. */
export const PATIENT: Patience = { bytes: KIB, windowMs: 30_000 };
/** Where there is someone else to ask. */
export const BRISK: Patience = { bytes: 32 * KIB, windowMs: 8_000 };

const MAX_PROBLEM: Bytes = 64 * KIB;
/** What may wait to be written down. */
const QUEUE_HIGH: Bytes = 256 * KIB;

export interface BlobRequest {
  url: URL;
  agent: Agent;
  sha256: Sha256Hex;
  offset: Bytes;
  size: Bytes;
  /** Exclusive. */
  end: Bytes;
  headers?: Record<string, string>;
  /** Strong validator that an earlier part came with. */
  etag?: string | undefined;
  silentMs: Millis;
  patience: Patience;
  clock: Clock;
  /** Checks what else the answer says, once its head is right. */
  head?(message: IncomingMessage): void;
}

/** @throws SkeinError UNREACHABLE, DOWNLOAD_FAILED */
export async function* httpBlob(request: BlobRequest): AsyncIterable<Uint8Array> {
  const { url, agent, offset, end, size, etag, silentMs } = request;
  const ranged = offset > 0 || end < size;
  const range: Record<string, string> = ranged
    ? { range: `bytes=${offset}-${end < size ? end - 1 : ''}` }
    : {};
  if (ranged && etag !== undefined) range['if-range'] = etag;
  const headers = { ...request.headers, ...range };
  const message = await openHttp({ url, agent, silentMs, headers });
  try {
    await checkHead(request, message, ranged);
    yield* boundedBody(url, message, end - offset, request);
  } finally {
    message.destroy();
  }
}

/** @throws SkeinError DOWNLOAD_FAILED unless it is exactly what was asked for, of this blob */
async function checkHead(request: BlobRequest, message: IncomingMessage, ranged: boolean): Promise<void> {
  const { url, offset, size, end, etag } = request;
  const status = message.statusCode ?? 0;
  if (status >= 400 && status !== 404 && status !== 416)
    throw answerError(url, {
      status,
      body: await readBody(message, url, MAX_PROBLEM, { ...PATIENT, clock: request.clock }),
    });
  const { etag: found, 'content-range': range, 'content-length': length } = message.headers;
  const wanted = ranged
    ? status === 206 && range === `bytes ${offset}-${end - 1}/${size}`
    : status === 200 && (length === undefined || Number(length) === size);
  if (wanted && (found === undefined || etag === undefined || found === etag)) return request.head?.(message);
  const what = found !== etag && wanted ? 'another blob under this name' : `not this blob (status ${status})`;
  throw new SkeinError('DOWNLOAD_FAILED', `${url.origin}${url.pathname}: it has ${what}`, {
    fix: 'Publish the model again: a blob of it is missing or differs at the server.',
    data: { status, offset },
  });
}

/** Exactly `length` bytes, at no less than the low-speed limit. @throws SkeinError DOWNLOAD_FAILED, UNREACHABLE */
export async function* boundedBody(
  url: URL,
  message: IncomingMessage,
  length: Bytes,
  { clock, patience }: Pick<BlobRequest, 'clock' | 'patience'>,
): AsyncIterable<Uint8Array> {
  let [got, seen, heldMs, slow] = [0, 0, 0, false];
  const watch = () => {
    // Time in which nobody took what came says nothing about the sender.
    if (got - seen < patience.bytes && heldMs < patience.windowMs / 2) {
      slow = true;
      message.destroy(new Error('the transfer is too slow'));
    }
    [seen, heldMs] = [got, 0];
    timer = clock.after(patience.windowMs, watch);
  };
  let timer = clock.after(patience.windowMs, watch);
  try {
    for await (const chunk of received(message)) {
      got += chunk.length;
      if (got > length)
        throw new SkeinError('DOWNLOAD_FAILED', `${url.pathname}: longer than the manifest says`);
      const from = clock.mono();
      yield chunk;
      heldMs += clock.mono() - from;
    }
  } catch (cause) {
    const failed = networkError(url, cause as Error);
    throw slow ? new SkeinError(failed.code, failed.message, { cause, data: { slow } }) : failed;
  } finally {
    timer.cancel();
  }
  if (got < length)
    throw new SkeinError('UNREACHABLE', `${url.pathname}: ended after ${got} of ${length} bytes`);
}

/** All that arrived, also when the connection breaks right after: a stream's own iterator would throw that away. */
async function* received(message: IncomingMessage): AsyncIterable<Uint8Array> {
  let queue: Buffer[] = [];
  let waiting = 0;
  let over: Error | 'end' | undefined;
  let wake = () => {};
  const end = (how: Error | 'end') => {
    over ??= how;
    wake();
  };
  message.on('data', (chunk: Buffer) => {
    queue.push(chunk);
    waiting += chunk.length;
    if (waiting >= QUEUE_HIGH) message.pause();
    wake();
  });
  message.once('end', () => end('end'));
  message.once('error', end);
  message.once('close', () => end(new Error('the connection was closed')));
  while (queue.length > 0 || !over) {
    if (queue.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      continue;
    }
    const chunk = queue.length === 1 ? queue[0]! : Buffer.concat(queue, waiting);
    [queue, waiting] = [[], 0];
    message.resume();
    yield chunk;
  }
  if (over !== 'end') throw over;
}
