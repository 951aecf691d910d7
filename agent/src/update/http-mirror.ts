/**
 * A mirror: any web server that has blobs under `<base>/<sha256>` and answers ranges (nginx, an S3 bucket). It sees no
 * certificate of the device, and nothing that it says is believed. A strong ETag is held on to while this process lives,
 * so a file that changes between two parts is noticed at once; what is left is for the hash.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import { BRISK, httpBlob } from './http-blob.ts';
import type { BlobSource } from './ports.ts';

const SILENT_MS: Millis = 10_000;
const SOCKETS = 4;
const ETAGS_MAX = 256;

export interface Mirror extends BlobSource {
  close(): void;
}

export function httpMirror(baseUrl: string, clock: Clock, kind: 'mirror' | 'site' = 'mirror'): Mirror {
  const base = new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`);
  const options = { keepAlive: true, maxSockets: SOCKETS };
  const agent = base.protocol === 'http:' ? new HttpAgent(options) : new HttpsAgent(options);
  const etags = new Map<Sha256Hex, string>();
  const keep = (sha256: Sha256Hex, etag: string | undefined) => {
    // A weak one speaks of the meaning, not of the bytes (RFC 9110 §8.8.1).
    if (etag === undefined || etag.startsWith('W/')) return;
    const [oldest] = etags.keys();
    if (etags.size >= ETAGS_MAX && oldest !== undefined) etags.delete(oldest);
    etags.set(sha256, etag);
  };
  return {
    name: base.origin + base.pathname,
    kind,
    blob: (sha256, offset, size, end = size) =>
      httpBlob({
        url: new URL(sha256, base),
        agent,
        etag: offset > 0 ? etags.get(sha256) : undefined,
        silentMs: SILENT_MS,
        patience: BRISK,
        head: ({ headers }) => keep(sha256, headers.etag),
        ...{ sha256, offset, size, end, clock },
      }),
    close: () => agent.destroy(),
  };
}
