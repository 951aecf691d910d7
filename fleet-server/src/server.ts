/**
 * Starts and stops the fleet server. Order: store, keys, fleet view, broker, rollouts, ingest,
 * HTTP; stopping goes the other
 * way round and ends within {@link STOP_MS}. Which adapters exist is decided in `main.ts`.
 */
import { join } from 'node:path';
import type { ServerView } from '@skein/protocol/api.ts';
import type { DesiredMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log, Timer, Verify } from '@skein/protocol/ports.ts';
import { parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { HOUR, type Millis, SECOND } from '@skein/protocol/units.ts';
import { type AccessDeps, pruneAccess } from './access/sessions.ts';
import type { Blobs } from './blobs/port.ts';
import type { Broker } from './broker/port.ts';
import type { Config } from './config.ts';
import { Director } from './director/orders.ts';
import { createEnrolment } from './fleet/enrolment.ts';
import { fleetSinks } from './fleet/sinks.ts';
import { createFleetView } from './fleet/view.ts';
import type { ServerTls, X509Authority } from './fleet/x509-authority.ts';
import { accessRoutes } from './http/access-routes.ts';
import { openDevicePort } from './http/device-port.ts';
import { deviceRoutes } from './http/device-routes.ts';
import { directorRoutes } from './http/director-routes.ts';
import { driftRoutes } from './http/drift-routes.ts';
import { enrolmentRoutes } from './http/enrolment-routes.ts';
import { createEventHub } from './http/event-stream.ts';
import { createIdempotency } from './http/idempotency.ts';
import { createMetrics } from './http/metrics.ts';
import { modelRoutes } from './http/model-routes.ts';
import { openPeoplePort } from './http/people-port.ts';
import { rolloutRoutes } from './http/rollout-routes.ts';
import type { HttpDeps } from './http/server.ts';
import { type Ingest, startIngest } from './ingest/run-ingest.ts';
import { ImageRepository } from './models/image-repository.ts';
import type { OnlineSigners } from './models/online-keys.ts';
import type { RolloutStore } from './rollouts/port.ts';
import { reportSink } from './rollouts/report-sink.ts';
import { RolloutRunner } from './rollouts/run-rollouts.ts';
import type { Store } from './store/sqlite-store.ts';

export const STOP_MS: Millis = 5 * SECOND;
const UPKEEP_MS: Millis = HOUR;

/** What the outside world is made of; `main.ts` has the real ones. */
export interface Adapters {
  clock: Clock;
  entropy: Entropy;
  verify: Verify;
  log: Log;
  version: string;
  /** Folder of the built dashboard. */
  dashboardDir: string;
  openStore(path: string): Promise<Store>;
  openAuthority(folder: string, clock: Clock): Promise<X509Authority>;
  openBlobs(folder: string): Promise<Blobs>;
  openOnlineKeys(folder: string): OnlineSigners;
  openRollouts(store: Store): RolloutStore;
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

export interface RunningServer {
  ports: { http: number; device: number; mqtts?: number; mqtt?: number };
  /** Where people reach it. */
  url: string;
  store: Store;
  close(): Promise<void>;
}

/** Undo in reverse: each step that started something says how to stop it. */
type Undo = (() => unknown)[];

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID, UNREACHABLE (external broker); nothing is left running then. */
export async function startServer(config: Config, adapters: Adapters): Promise<RunningServer> {
  const undo: Undo = [];
  try {
    return await start(config, adapters, undo);
  } catch (error) {
    await unwind(undo, adapters);
    throw error;
  }
}

async function start(config: Config, adapters: Adapters, undo: Undo): Promise<RunningServer> {
  const { clock, entropy, log, verify, version } = adapters;
  const store = await adapters.openStore(join(config.stateDir, 'store.db'));
  undo.push(() => store.destroy());
  const authority = await adapters.openAuthority(join(config.stateDir, 'ca'), clock);
  const publicHost = config.publicUrl ? new URL(config.publicUrl).hostname : 'localhost';
  const hosts = [...new Set([publicHost, 'localhost', '127.0.0.1', '::1'])];
  const tls = await authority.serverTls(hosts);
  const blobs = await adapters.openBlobs(join(config.stateDir, 'blobs'));
  const online = adapters.openOnlineKeys(join(config.stateDir, 'online-keys'));
  const repository = new ImageRepository({ store, blobs, clock, verify, online });

  const hub = createEventHub();
  const view = createFleetView({ store, clock, log, fleet: config.fleet, publish: hub.publish });
  await view.load();
  undo.push(() => view.close());
  const mayConnect = async (device: string) => view.isEnrolled(device);
  const { broker, ports: mqtt, useCertificate } = await adapters.openBroker(config, { tls, mayConnect, log });
  undo.push(() => broker.close());

  let ingest: Ingest | undefined;
  const metrics = createMetrics({
    devices: () => view.summaries().filter((d) => !d.revoked).length,
    devicesOnline: () => view.summaries().filter((d) => d.online).length,
    streamClients: () => hub.clients,
    batches: () => ({ ...ingest?.counts }),
  });
  broker.onMessage((topic, payload) => {
    metrics.message(parseTopic(topic)?.channel ?? 'other', payload.length);
    view.handle(topic, payload);
  });

  const desired = announcer(broker, config.fleet, log);
  const director = new Director({ store, clock, online, announce: desired });
  const announceAll = async () => {
    for (const { id, revoked } of view.summaries()) if (!revoked) await director.announce(id);
  };
  broker.onConnect(() => void announceAll().catch(failed(log, 'announcing orders')));
  const rollouts = new RolloutRunner({
    store: adapters.openRollouts(store),
    desk: director,
    clock,
    log,
    changed: (rollout) => hub.publish('rollout', rollout),
  });
  undo.push(() => rollouts.stop());
  ingest = startIngest({
    store,
    broker,
    fleet: config.fleet,
    ackSigner: online.ack,
    verify,
    clock,
    log,
    sinks: [...fleetSinks(view.touch), reportSink(rollouts)],
  });
  undo.push(() => ingest?.stop());
  await rollouts.start();

  const ports: RunningServer['ports'] = { http: 0, device: 0, ...mqtt };
  const url = () => config.publicUrl || `http://localhost:${ports.http}`;
  const addresses = () => ({
    deviceUrl: `https://${publicHost}:${ports.device}`,
    mqttUrl: config.brokerUrl || `mqtts://${publicHost}:${ports.mqtts}`,
  });
  const enrolment = createEnrolment({
    store,
    clock,
    entropy,
    verify,
    authority,
    fleet: config.fleet,
    addresses,
  });
  const describe = async (): Promise<ServerView> => ({
    version,
    fleet: config.fleet,
    publicUrl: url(),
    deviceUrl: addresses().deviceUrl,
    mqtt: addresses().mqttUrl,
    trustReady: await enrolment.trustReady(),
  });
  const access: AccessDeps = { store, clock, entropy };
  const idempotency = createIdempotency(store, clock);
  const http: HttpDeps = {
    store,
    clock,
    log,
    idempotency,
    metrics,
    maxBlobBytes: config.maxBlob,
    handlers: {
      ...accessRoutes({ ...access, hub, describe }),
      ...enrolmentRoutes({ enrolment, view, publicHost }),
      ...deviceRoutes({ store, clock, view, broker, fleet: config.fleet }),
      ...driftRoutes(store, clock),
      ...modelRoutes({
        store,
        blobs,
        repository,
        online,
        maxBlobBytes: config.maxBlob,
        published: () => void announceAll().catch(failed(log, 'announcing orders')),
      }),
      ...directorRoutes({ repository, director, blobs }),
      ...rolloutRoutes({ store, rollouts }),
    },
  };
  const devicePort = await openDevicePort({ ...http, mayConnect }, tls, {
    host: config.deviceHost,
    port: config.devicePort,
    variable: 'SKEIN_DEVICE_PORT',
  });
  undo.push(() => devicePort.close());
  ports.device = devicePort.port;
  const peoplePort = await openPeoplePort(
    { ...http, ...access, version, dashboardDir: adapters.dashboardDir },
    { host: config.httpHost, port: config.httpPort, variable: 'SKEIN_HTTP_PORT' },
  );
  undo.push(() => peoplePort.close());
  undo.push(() => hub.close());
  ports.http = peoplePort.port;

  const upkeep = repeat(clock, log, UPKEEP_MS, async () => {
    await pruneAccess(access);
    await idempotency.prune();
    if (await repository.resignDue(clock.now())) await announceAll();
    const next = await authority.serverTls(hosts);
    if (next.cert === tls.cert) return;
    Object.assign(tls, next);
    devicePort.useCertificate(next);
    useCertificate?.(next);
  });
  undo.push(() => upkeep.cancel());
  return { ports, url: url(), store, close: () => unwind(undo, adapters) };
}

const failed = (log: Log, what: string) => (error: Error) => log.error(what, { error: error.message });

/** Publishes `desired`: a retained hint, so a failure is only logged; it is published anew on the next connect. */
function announcer(broker: Broker, fleet: string, log: Log) {
  return (device: string, directorVersion: number): void => {
    const payload = JSON.stringify({ directorVersion } satisfies DesiredMessage);
    broker
      .publish(topicFor(fleet, device, 'desired'), payload, { qos: 1, retain: true })
      .catch(failed(log, 'publishing desired'));
  };
}

/** Runs `task` at once and then every `intervalMs`; a failure is logged, not the end. */
function repeat(clock: Clock, log: Log, intervalMs: Millis, task: () => Promise<void>): Timer {
  let timer: Timer | undefined;
  let cancelled = false;
  const run = () => {
    task()
      .catch((error: Error) => log.error('upkeep failed', { error: error.message }))
      .finally(() => {
        if (!cancelled) timer = clock.after(intervalMs, run);
      });
  };
  run();
  return {
    cancel() {
      cancelled = true;
      timer?.cancel();
    },
  };
}

/** Every step gets its turn even when one fails or hangs; all of it is over within {@link STOP_MS}. */
async function unwind(undo: Undo, { clock, log }: Adapters): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => {
    timer = clock.after(STOP_MS, () => {
      log.warn('stopping took too long; what is left is cut off');
      resolve();
    });
  });
  const all = async () => {
    for (const step of undo.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        log.warn('while stopping', { error: (error as Error).message });
      }
    }
  };
  await Promise.race([all(), late]);
  timer?.cancel();
}
