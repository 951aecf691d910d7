/**
 * GET over node:http(s) for what polls: one answer within its time and size, status 200, no redirects, no credentials in
 * the address. The body is cut off at its cap while it arrives.
 */
import { type IncomingMessage, get as plainGet } from 'node:http';
import { get as tlsGet } from 'node:https';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import { readCredentials, readSecret } from '../disk-secret.ts';

export interface AskOptions {
  url: string;
  timeoutMs: Millis;
  maxBytes: Bytes;
  /** Files; read at each question. */
  credentials?: string;
  ca?: string;
}

const failed = (url: string, what: string, fix: string, cause?: unknown): SkeinError =>
  new SkeinError('SOURCE_FAILED', `${url}: ${what}`, { cause, fix });

/** @throws SkeinError SOURCE_FAILED, CONFIG_UNREADABLE */
export async function httpAsk(options: AskOptions, stopped: AbortSignal): Promise<Uint8Array> {
  const { url, timeoutMs, maxBytes } = options;
  const signal = AbortSignal.any([stopped, AbortSignal.timeout(timeoutMs)]);
  try {
    const message = await answer(options, signal);
    checkStatus(url, message);
    return await body(url, message, maxBytes);
  } catch (error) {
    if (error instanceof SkeinError) throw error;
    const late = signal.aborted && !stopped.aborted;
    const what = late ? `no whole answer within ${timeoutMs} ms` : (error as Error).message;
    throw failed(
      url,
      what,
      'Check that the peer runs and that `url` is right; a slow one needs a longer `timeout`.',
      error,
    );
  }
}

function answer({ url, credentials, ca }: AskOptions, signal: AbortSignal): Promise<IncomingMessage> {
  const { username, password } = credentials ? readCredentials(credentials) : { username: '', password: '' };
  const headers = credentials
    ? { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
    : {};
  const get = url.startsWith('https:') ? tlsGet : plainGet;
  const trust = ca ? { ca: readSecret(ca) } : {};
  return new Promise((resolve, reject) => {
    get(url, { signal, headers, agent: false, ...trust }, resolve).once('error', reject);
  });
}

function checkStatus(url: string, message: IncomingMessage): void {
  const { statusCode: status = 0, headers } = message;
  if (status === 200) return;
  message.destroy();
  if (status >= 300 && status < 400)
    throw failed(
      url,
      `it sends on to ${headers.location ?? '?'}`,
      'Write that address as `url`; redirects are not followed.',
    );
  const denied = status === 401 || status === 403;
  throw failed(
    url,
    `status ${status}`,
    denied ? 'Name a file with `user:password` in `credentials`.' : 'Check `url`.',
  );
}

async function body(url: string, message: IncomingMessage, maxBytes: Bytes): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      message.destroy();
      throw failed(url, `longer than ${maxBytes} bytes`, 'Raise the source’s `maxSize`, or ask for less.');
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
