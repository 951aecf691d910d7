/** Where models come from on this device, and whom it gives them to: what the configuration says, put together. */
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { SitePart } from '../agent-parts.ts';
import type { Config } from '../config/schema.ts';
import type { TlsTrust } from '../identity/http-tls.ts';
import type { Sources } from '../update/blob-download.ts';
import { BlobSupply, serverSource } from '../update/blob-supply.ts';
import { type Deltas, serverDeltas } from '../update/delta-download.ts';
import { Flights } from '../update/flights.ts';
import type { Gate } from '../update/gate.ts';
import { httpMirror } from '../update/http-mirror.ts';
import { httpPeer } from '../update/http-peer.ts';
import { openHttpSite, type SiteServer } from '../update/http-site.ts';
import type { BlobSource, Fetcher, Slots } from '../update/ports.ts';
import { RateCap } from '../update/rate-cap.ts';
import { SiteCache } from '../update/site-cache.ts';
import { siteOrder } from '../update/site-order.ts';

export interface DownloadDeps {
  fetcher: Fetcher;
  slots: Slots;
  gate: Gate;
  trust(): TlsTrust;
  clock: Clock;
  entropy: Entropy;
  log: Log;
}

export interface Downloads {
  supply: BlobSupply;
  deltas: Deltas | undefined;
  flights: Flights;
  alsoKept(): Iterable<Sha256Hex>;
  site: SitePart | undefined;
  /** After this device's certificate was renewed. */
  renewed(): void;
  close(): void;
}

export function openDownloads(
  { update, site }: Pick<Config, 'update' | 'site'>,
  deps: DownloadDeps,
): Downloads {
  const { clock, entropy, log, gate, fetcher, trust } = deps;
  const mirror = (url: string, kind: 'mirror' | 'site') => httpMirror(url, clock, kind);
  const peers = site.peers.filter((url) => url !== site.self).map((url) => httpPeer(url, trust, clock));
  const local = site.servers.map((url) => mirror(url, 'site'));
  const mirrors = update.mirrors.map((url) => mirror(url, 'mirror'));
  const beyond = (): BlobSource[] => (gate.uplink() ? [...mirrors, serverSource(fetcher)] : []);
  const cap = new RateCap(clock);
  const shared = { clock, entropy, log, cap, rate: update.rate, siteWaitMs: site.wait };
  const flights = new Flights();
  const patches = serverDeltas(fetcher, deps.slots, log, () => gate.uplink());
  const upward = new BlobSupply({ ...shared, sources: () => [...local, ...beyond()] });
  const supply = new BlobSupply({
    ...shared,
    sources: (sha256) => [...siteOrder(peers, site.self, sha256), ...local, ...beyond()],
  });
  const serving = site.serve
    ? serveSite(site, {
        ...deps,
        supply: upward,
        flights,
        deltas: local.length > 0 ? undefined : patches,
      })
    : undefined;
  return {
    supply,
    // A site fetches each blob once for all: a patch for every device would cost its uplink more.
    deltas: peers.length + local.length > 0 ? undefined : patches,
    flights,
    alsoKept: () => serving?.kept() ?? flights.names(),
    site: serving,
    renewed: () => serving?.renewed(),
    close: () => {
      for (const source of [...peers, ...local, ...mirrors]) source.close();
    },
  };
}

function serveSite(config: Config['site'], deps: DownloadDeps & Sources) {
  const { clock, log, trust } = deps;
  let cache: SiteCache | undefined;
  let server: SiteServer | undefined;
  let stopping = false;
  return {
    async start(prune: () => void) {
      const { cache: cacheBytes, clients: clientsMax, ...at } = config;
      cache = await SiteCache.open({ ...deps, cacheBytes, stopping: () => stopping, fellOff: prune });
      server = await openHttpSite(cache, trust(), { ...at, clientsMax }, { clock, log });
      log.info('serving models to the site', { port: server.port });
    },
    async stop() {
      stopping = true;
      await server?.close();
    },
    kept: () => cache?.kept() ?? [],
    renewed: () => server?.useTrust(trust()),
  };
}
