/** Another agent of the site, asked for blobs by hash; see http-site.ts for what both sides check. */
import type { Agent } from 'node:https';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { memberAgent, sameTrust, type TlsTrust } from '../identity/http-tls.ts';
import { httpBlob, PATIENT } from './http-blob.ts';
import { SIZE_HEADER } from './http-site.ts';
import type { BlobSource } from './ports.ts';

/** A peer may first have to fetch it itself. */
const SILENT_MS: Millis = 20_000;

export interface Peer extends BlobSource {
  close(): void;
}

export function httpPeer(address: string, trust: () => TlsTrust, clock: Clock): Peer {
  const base = new URL(address);
  let made: { trust: TlsTrust; agent: Agent } | undefined;
  const agentNow = (): Agent => {
    const now = trust();
    if (made && sameTrust(made.trust, now)) return made.agent;
    made?.agent.destroy();
    made = { trust: now, agent: memberAgent(now, clock) };
    return made.agent;
  };
  return {
    name: base.origin,
    kind: 'site',
    blob: (sha256, offset, size, end = size) =>
      httpBlob({
        url: new URL(`/v1/blobs/${sha256}`, base),
        agent: agentNow(),
        headers: { [SIZE_HEADER]: String(size) },
        etag: `"${sha256}"`,
        silentMs: SILENT_MS,
        patience: PATIENT,
        ...{ sha256, offset, size, end, clock },
      }),
    close: () => made?.agent.destroy(),
  };
}
