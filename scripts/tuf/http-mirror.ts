/** GET from a repository: no redirects, no cookies, nothing compressed, every answer bounded, a silent peer given up. */
import { type IncomingMessage, get as plainGet } from 'node:http';
import { get as tlsGet } from 'node:https';
import { networkError, readBody } from '@skein/agent/identity/http-exchange.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Mirror } from '@skein/protocol/trust/client-workflow.ts';
import type { Millis } from '@skein/protocol/units.ts';

const SILENT_MS: Millis = 30_000;
/** Metadata are small: a mirror that drips is given up (slow retrieval). */
const WHOLE_MS: Millis = 120_000;

/** @param path relative, already encoded @throws SkeinError REQUEST_INVALID */
export function urlUnder(base: string, path: string): URL {
  const root = base.endsWith('/') ? base : `${base}/`;
  if (!/^https?:\/\//.test(root) || !URL.canParse(root)) {
    throw new SkeinError('REQUEST_INVALID', `${base} is not an http or https address`);
  }
  return new URL(`${root}${path}`);
}

/** @throws SkeinError UNREACHABLE, SERVER_NOT_TRUSTED */
export function openGet(url: URL, signal?: AbortSignal): Promise<IncomingMessage> {
  const get = url.protocol === 'https:' ? tlsGet : plainGet;
  const headers = { 'accept-encoding': 'identity' };
  return new Promise((resolve, reject) => {
    const options = { agent: false, headers, timeout: SILENT_MS, ...(signal ? { signal } : {}) } as const;
    const request = get(url, options, resolve);
    request.once('timeout', () => request.destroy(new Error(`no answer for ${SILENT_MS / 1000} s`)));
    request.once('error', (cause) => reject(networkError(url, cause)));
  });
}

export const statusError = (url: URL, status: number) =>
  new SkeinError('UNREACHABLE', `${url.href}: status ${status}`, {
    fix:
      status >= 300 && status < 400
        ? 'Give the address it sends on to; redirects are not followed.'
        : 'Check the address.',
  });

/** Object stores that may not be listed answer 403 for what is not there. */
const ABSENT = new Set([403, 404, 410]);

export const httpMirror = (base: string): Mirror => ({
  async document(file, maxBytes) {
    const url = urlUnder(base, encodeURIComponent(file));
    const message = await openGet(url, AbortSignal.timeout(WHOLE_MS));
    const status = message.statusCode ?? 0;
    if (status === 200) return readBody(message, url, maxBytes);
    message.destroy();
    if (ABSENT.has(status)) return undefined;
    throw statusError(url, status);
  },
});
