/**
 * Metadata and blobs from the device port over mTLS. Redirects are not followed; a document is cut off at its cap, a
 * blob at its size; a transfer slower than 1 KiB in 30 s is given up, to be resumed later.
 * A blob's ETag is its quoted SHA-256, so `If-Range` makes the server send the whole thing when it has another one,
 * which is refused here.
 */
import type { IncomingMessage } from 'node:http';
import type { Agent } from 'node:https';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { answerError, exchange, networkError, openHttps, readBody } from '../identity/http-exchange.ts';
import { type TlsTrust, tlsAgent } from '../identity/http-tls.ts';
import type { Fetcher } from './ports.ts';

const SILENT_MS: Millis = 30_000;
const LOW_SPEED_WINDOW_MS: Millis = 30_000;
const LOW_SPEED_BYTES: Bytes = KIB;
const MAX_PROBLEM: Bytes = 64 * KIB;

export interface HttpFetcher extends Fetcher {
  close(): void;
}

/** @param trust asked at each request: a renewed certificate or a clock that was set makes new connections. */
export function httpFetcher(baseUrl: string, trust: () => TlsTrust, clock: Clock): HttpFetcher {
  const base = new URL(baseUrl);
  let made: { trust: TlsTrust; agent: Agent } | undefined;
  const agentNow = (): Agent => {
    const now = trust();
    if (made && sameTrust(made.trust, now)) return made.agent;
    made?.agent.destroy();
    made = { trust: now, agent: tlsAgent(now) };
    return made.agent;
  };

  return {
    async document(path, maxBytes) {
      const url = new URL(path, base);
      const answer = await exchange({ url, agent: agentNow(), silentMs: SILENT_MS }, maxBytes);
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw answerError(url, answer);
      return answer.body;
    },
    async *blob(sha256, offset, size) {
      const url = new URL(`/v1/blobs/${sha256}`, base);
      const headers = { range: `bytes=${offset}-`, 'if-range': `"${sha256}"` };
      const message = await openHttps({
        url,
        agent: agentNow(),
        silentMs: SILENT_MS,
        ...(offset > 0 ? { headers } : {}),
      });
      try {
        await checkBlobAnswer(url, message, sha256, offset, size);
        yield* boundedBody(url, message, size - offset, clock);
      } finally {
        message.destroy();
      }
    },
    close: () => made?.agent.destroy(),
  };
}

const sameTrust = (a: TlsTrust, b: TlsTrust): boolean =>
  a.ca === b.ca &&
  a.certificate === b.certificate &&
  (a.verifyAt === undefined) === (b.verifyAt === undefined);

/** @throws SkeinError DOWNLOAD_FAILED unless it is exactly the rest of this blob */
async function checkBlobAnswer(
  url: URL,
  message: IncomingMessage,
  sha256: Sha256Hex,
  offset: Bytes,
  size: Bytes,
): Promise<void> {
  const status = message.statusCode ?? 0;
  if (status >= 400 && status !== 404 && status !== 416)
    throw answerError(url, { status, body: await readBody(message, url, MAX_PROBLEM) });
  const { etag, 'content-range': range } = message.headers;
  const wanted =
    offset > 0 ? status === 206 && range === `bytes ${offset}-${size - 1}/${size}` : status === 200;
  if (wanted && (etag === undefined || etag === `"${sha256}"`)) return;
  throw new SkeinError(
    'DOWNLOAD_FAILED',
    `${url.pathname}: the server does not have this blob (status ${status})`,
    {
      fix: 'Publish the model again: a blob of it is missing or differs at the server.',
      data: { status, offset },
    },
  );
}

/** Exactly `length` bytes, at no less than the low-speed limit. @throws SkeinError DOWNLOAD_FAILED, UNREACHABLE */
export async function* boundedBody(
  url: URL,
  message: IncomingMessage,
  length: Bytes,
  clock: Clock,
): AsyncIterable<Uint8Array> {
  let got = 0;
  let seen = 0;
  const watch = () => {
    if (got - seen < LOW_SPEED_BYTES) message.destroy(new Error('the transfer is too slow'));
    seen = got;
    timer = clock.after(LOW_SPEED_WINDOW_MS, watch);
  };
  let timer = clock.after(LOW_SPEED_WINDOW_MS, watch);
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      got += chunk.length;
      if (got > length)
        throw new SkeinError('DOWNLOAD_FAILED', `${url.pathname}: longer than the manifest says`);
      yield chunk;
    }
  } catch (cause) {
    throw networkError(url, cause as Error);
  } finally {
    timer.cancel();
  }
  if (got < length)
    throw new SkeinError('UNREACHABLE', `${url.pathname}: ended after ${got} of ${length} bytes`);
}
