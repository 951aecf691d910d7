/**
 * Metadata and blobs from the device port over mTLS. Redirects are not followed; a document is cut off at its cap, a
 * blob at its size, and either when it trickles. A blob's ETag is its quoted SHA-256, so `If-Range` makes the server send the whole thing when it has
 * another one, which is refused.
 */
import type { Agent } from 'node:https';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { answerError, exchange } from '../identity/http-exchange.ts';
import { sameTrust, type TlsTrust, tlsAgent } from '../identity/http-tls.ts';
import { httpBlob, PATIENT } from './http-blob.ts';
import type { Fetcher } from './ports.ts';

const SILENT_MS: Millis = 30_000;

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
      const request = { url, agent: agentNow(), silentMs: SILENT_MS };
      const answer = await exchange(request, maxBytes, { ...PATIENT, clock });
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw answerError(url, answer);
      return answer.body;
    },
    blob: (sha256, offset, size, end = size) =>
      httpBlob({
        url: new URL(`/v1/blobs/${sha256}`, base),
        agent: agentNow(),
        etag: `"${sha256}"`,
        silentMs: SILENT_MS,
        patience: PATIENT,
        ...{ sha256, offset, size, end, clock },
      }),
    close: () => made?.agent.destroy(),
  };
}
