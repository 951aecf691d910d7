/**
 * Predictions by POST: one as a JSON object, or with a batch an array of up to so many. With a secret each request is
 * signed as Standard Webhooks has it: `webhook-signature: v1,` and base64 HMAC-SHA256 of `id.timestamp.body`; the id stays
 * the same when a request is sent again, so a receiver can tell. 2xx: taken. 408, 429, 5xx and no answer: again later. All
 * else: refused for good; redirects are not followed.
 */
import { createHmac } from 'node:crypto';
import { type Agent, type IncomingMessage, Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { readCredentials, readSecret } from '../disk-secret.ts';
import { within } from '../within.ts';
import type { SinkItem, Transport } from './port.ts';

export interface WebhookOptions {
  url: string;
  timeoutMs: Millis;
  /** More than 1: bodies are arrays. */
  batch: number;
  /** Files, read at each request. */
  secret?: string | undefined;
  credentials?: string | undefined;
  ca?: string | undefined;
  /** Of this start of the agent: makes ids unique. */
  boot: string;
}

const SECRET_PREFIX = 'whsec_';

export function webhookTransport(options: WebhookOptions, clock: Clock): Transport {
  const { url, timeoutMs } = options;
  const keep = { keepAlive: true, maxSockets: 1 };
  let agent: Agent | undefined;

  return {
    open() {
      agent = url.startsWith('https:') ? new TlsAgent(keep) : new PlainAgent(keep);
    },
    async send(items, stopped) {
      const body = bodyOf(items, options.batch);
      const headers = headersOf(options, items, body, clock);
      const ending = new AbortController();
      const refusal = () => {
        ending.abort();
        return failed(url, stopped.aborted ? 'stopped' : `no answer within ${timeoutMs} ms`);
      };
      const posted = post(options, agent!, headers, body, ending.signal);
      check(url, await within(posted, { clock, ms: timeoutMs, stopped, refusal }));
    },
    async close() {
      agent?.destroy();
    },
  };
}

const failed = (
  url: string,
  what: string,
  more: { permanent?: boolean; fix?: string; cause?: unknown } = {},
) =>
  new SkeinError('UNREACHABLE', `${url}: ${what}`, {
    fix: more.fix ?? 'Check `url` and that the receiver runs.',
    cause: more.cause,
    data: { permanent: more.permanent ?? false },
  });

const bodyOf = (items: readonly SinkItem[], batch: number): string =>
  JSON.stringify(batch === 1 ? items[0]!.message : items.map(({ message }) => message));

function headersOf(
  { secret, credentials, boot }: WebhookOptions,
  items: readonly SinkItem[],
  body: string,
  clock: Clock,
) {
  const id = `${boot}-${items[0]!.seq}-${items.at(-1)!.seq}`;
  const timestamp = Math.floor(clock.now() / 1000);
  const { username, password } = credentials ? readCredentials(credentials) : { username: '', password: '' };
  return {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    ...(secret
      ? { 'webhook-signature': `v1,${signature(readSecret(secret), `${id}.${timestamp}.${body}`)}` }
      : {}),
    ...(credentials
      ? { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
      : {}),
  };
}

function signature(secret: string, text: string): string {
  const coded = secret.startsWith(SECRET_PREFIX);
  const key = coded ? Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64') : Buffer.from(secret);
  return createHmac('sha256', key).update(text).digest('base64');
}

/** @returns the status; the body of the answer is not read. */
function post(
  { url, ca }: WebhookOptions,
  agent: Agent,
  headers: Record<string, string | number>,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const request = url.startsWith('https:') ? tlsRequest : plainRequest;
  const trust = ca ? { ca: readSecret(ca) } : {};
  return new Promise((resolve, reject) => {
    request(url, { method: 'POST', agent, headers, signal, ...trust }, (message) => {
      message.on('error', () => {});
      // Small answers leave the connection usable; nobody waits for a long one.
      if (Number(message.headers['content-length'] ?? Number.POSITIVE_INFINITY) <= 65_536) message.resume();
      else message.destroy();
      resolve(message);
    })
      .once('error', (cause) => reject(failed(url, cause.message, { cause })))
      .end(body);
  });
}

function check(url: string, { statusCode: status = 0, headers }: IncomingMessage): void {
  if (status >= 200 && status < 300) return;
  if (status === 408 || status === 429 || status >= 500) throw failed(url, `status ${status}`);
  const moved = status >= 300 && status < 400;
  throw failed(url, moved ? `it sends on to ${headers.location ?? '?'}` : `status ${status}`, {
    permanent: true,
    fix: moved
      ? 'Write that address as `url`; redirects are not followed.'
      : 'The receiver refuses these messages: see its log.',
  });
}
