/** What the outside world is made of; `main.ts` has the real ones. */
import type { Codecs } from '@skein/protocol/batch/body.ts';
import type { Clock, Entropy, Log, Verify } from '@skein/protocol/ports.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Blobs } from './blobs/port.ts';
import type { Broker } from './broker/port.ts';
import type { Config } from './config.ts';
import type { ServerAuthority, ServerTls } from './fleet/authority.ts';
import type { OnlineKeyring } from './models/online-keys.ts';
import type { MakeDelta } from './models/run-deltas.ts';
import type { RolloutStore } from './rollouts/port.ts';
import type { Store } from './store/sqlite-store.ts';

export interface Adapters {
  clock: Clock;
  entropy: Entropy;
  verify: Verify;
  codecs: Codecs;
  log: Log;
  version: string;
  /** Folder of the built dashboard. */
  dashboardDir: string;
  openStore(path: string): Promise<Store>;
  /** Of the disk that a folder is on. */
  freeBytes(folder: string): Promise<Bytes>;
  openAuthority(folder: string, clock: Clock): Promise<ServerAuthority>;
  openBlobs(folder: string): Promise<Blobs>;
  openOnlineKeys(folder: string): OnlineKeyring;
  openRollouts(store: Store): RolloutStore;
  makeDelta: MakeDelta;
  openBroker(config: Config, given: BrokerNeeds): Promise<OpenBroker>;
}

export interface BrokerNeeds {
  tls: ServerTls;
  mayConnect(device: string): Promise<boolean>;
  log: Log;
}

export interface OpenBroker {
  broker: Broker;
  /** Of the embedded broker; an external one listens by itself. */
  ports?: { mqtts: number; mqtt: number };
  useCertificate?(tls: ServerTls): void;
}
