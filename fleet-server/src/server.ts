/**
 * Starts and stops the fleet server. Order: store and keys, fleet view and broker, rollouts and ingest, HTTP;
 * stopping goes the other way round. Which adapters exist is decided in `main.ts`.
 */
import { join } from 'node:path';
import type { DesiredMessage } from '@skein/protocol/messages.ts';
import { parseTopic, topicFor } from '@skein/protocol/topics.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { DAY, HOUR, MINUTE, type Millis } from '@skein/protocol/units.ts';
import { pseudonymiseAudit } from './access/pseudonymise-audit.ts';
import { pruneAccess } from './access/sessions.ts';
import type { Adapters, OpenBroker } from './adapters.ts';
import { addressesOf, certifiedHosts, type Ports, publicHostOf } from './addresses.ts';
import { clearTopics, TOPICS } from './broker/clear-topics.ts';
import { type Config, SETTINGS } from './config.ts';
import { Director } from './director/orders.ts';
import { searchInChild } from './erasure/child-search.ts';
import type { ErasureDeps } from './erasure/port.ts';
import { startErasures } from './erasure/run-erasures.ts';
import { createEnrolment } from './fleet/enrolment.ts';
import { fleetSinks } from './fleet/sinks.ts';
import { createFleetView } from './fleet/view.ts';
import { createWatch } from './fleet/watch.ts';
import { accessRoutes } from './http/access-routes.ts';
import { openDevicePort } from './http/device-port.ts';
import { deviceRoutes } from './http/device-routes.ts';
import { directorRoutes } from './http/director-routes.ts';
import { driftRoutes } from './http/drift-routes.ts';
import { enrolmentRoutes } from './http/enrolment-routes.ts';
import { erasureRoutes } from './http/erasure-routes.ts';
import { createEventHub } from './http/event-stream.ts';
import type { Handlers } from './http/handlers.ts';
import { createIdempotency } from './http/idempotency.ts';
import { createMetrics } from './http/metrics.ts';
import { modelRoutes } from './http/model-routes.ts';
import { openPeoplePort } from './http/people-port.ts';
import { rolloutRoutes } from './http/rollout-routes.ts';
import { trustRoutes } from './http/trust-routes.ts';
import { announceReads } from './ingest/announce-reads.ts';
import { type Ingest, startIngest } from './ingest/run-ingest.ts';
import { createLifetime, type Lifetime } from './lifetime.ts';
import { ImageRepository } from './models/image-repository.ts';
import { newestSigner } from './models/online-keys.ts';
import { revokedModels } from './models/registry.ts';
import { DeltaRunner } from './models/run-deltas.ts';
import { trustStatus } from './models/trust-status.ts';
import { reportSink } from './rollouts/report-sink.ts';
import { RolloutRunner } from './rollouts/run-rollouts.ts';
import { serverAlarms } from './server-alarms.ts';
import type { Policy } from './store/rollup.ts';
import { watchDisk } from './store/run-disk-watch.ts';
import { startRetention } from './store/run-retention.ts';
import { endQuietFaults } from './store/sqlite-faults.ts';
import { openSteadyTime } from './store/sqlite-steady-time.ts';
import { reusableBytes, type Store } from './store/sqlite-store.ts';

const UPKEEP_MS: Millis = HOUR;
const QUIET_MS: Millis = MINUTE;

export interface RunningServer {
  ports: Ports;
  /** Where people reach it. */
  url: string;
  store: Store;
  /** Ends within 5 s. */
  close(): Promise<void>;
}

/** @throws SkeinError PORT_IN_USE, CONFIG_INVALID, UNREACHABLE (external broker); nothing is left running then. */
export async function startServer(config: Config, adapters: Adapters): Promise<RunningServer> {
  const lifetime = createLifetime(adapters.clock, adapters.log);
  try {
    const base = await openBase({ ...adapters, config, adapters, lifetime });
    const live = await openFleet(base);
    const rooms = await startRooms(live);
    const ports = await openPorts(rooms);
    return {
      ports,
      url: addressesOf(config, ports).publicUrl,
      store: base.store,
      close: () => lifetime.stop(),
    };
  } catch (error) {
    await lifetime.stop();
    throw error;
  }
}

interface Start extends Pick<Adapters, 'clock' | 'entropy' | 'verify' | 'log'> {
  config: Config;
  adapters: Adapters;
  lifetime: Lifetime;
}

/** What is on disk. */
async function openBase(start: Start) {
  const { config, adapters, lifetime, clock, verify } = start;
  const inState = (name: string) => join(config.stateDir, name);
  const store = await adapters.openStore(inState('store.db'));
  lifetime.onStop(() => store.destroy());
  await pseudonymiseAudit(store, { clock, entropy: start.entropy });
  const disk = await watchDisk({
    clock,
    log: start.log,
    reserveBytes: config.diskReserve,
    freeBytes: () => usableBytes(adapters.freeBytes(config.stateDir), reusableBytes(store)),
  });
  lifetime.onStop(() => disk.stop());
  const authority = await adapters.openAuthority(inState('ca'), clock);
  const tls = await authority.serverTls(certifiedHosts(config));
  const blobs = await adapters.openBlobs(inState('blobs'));
  const online = adapters.openOnlineKeys(inState('keys'));
  const repository = new ImageRepository({ store, blobs, clock, verify, online });
  await repository.settle();
  return { ...start, store, disk, authority, tls, blobs, online, repository };
}

/** Room inside the database counts as well, but the log of its changes needs some of the disk too. */
async function usableBytes(free: Promise<number>, reusable: Promise<number>): Promise<number> {
  return Math.min(4 * (await free), (await free) + (await reusable));
}
type Base = Awaited<ReturnType<typeof openBase>>;

/** The live view of the fleet, and the broker that feeds it. */
async function openFleet(base: Base) {
  const { config, adapters, lifetime, store, clock, log, tls } = base;
  const hub = createEventHub();
  const view = createFleetView({ store, clock, log, fleet: config.fleet, publish: hub.publish });
  await view.load();
  lifetime.onStop(() => view.close());
  const mayConnect = async (device: string) => view.isEnrolled(device);
  const mqtt = await adapters.openBroker(config, { tls, mayConnect, log });
  lifetime.onStop(() => mqtt.broker.close());
  return { ...base, hub, view, mayConnect, mqtt };
}
type Live = Awaited<ReturnType<typeof openFleet>>;

/** Everything that listens to devices; no message can come between here and the opening of the broker. */
async function startRooms(live: Live) {
  const { config, adapters, lifetime, store, clock, log, verify, online, view, hub, mqtt } = live;
  const { broker } = mqtt;
  const director = new Director({ store, clock, online, announce: announcer(live, mqtt) });
  const rollouts = new RolloutRunner({
    store: adapters.openRollouts(store),
    desk: director,
    clock,
    log,
    changed: (rollout) => hub.publish('rollout', rollout),
  });
  lifetime.onStop(() => rollouts.stop());
  const time = await openSteadyTime(store, clock);
  /** By it what comes is dated; see store/steady-time.ts. */
  const arrivals = { ...clock, now: () => time.arrival() };
  const ingest = startIngest({
    store,
    broker,
    fleet: config.fleet,
    // Asked at each use: the key may be replaced while the server runs.
    get ackSigner() {
      return newestSigner(online, 'ack');
    },
    verify,
    codecs: adapters.codecs,
    clock: arrivals,
    log,
    sinks: [...fleetSinks(view.touch, arrivals), reportSink(rollouts)],
    rates: { batchesPerSecond: config.deviceBatchRate, bytesPerSecond: config.deviceByteRate },
    reported: view.touch,
    disk: live.disk,
  });
  lifetime.onStop(() => ingest.stop());
  const retention = startRetention({ store, clock, time, log, policy: policyOf(config) });
  lifetime.onStop(() => retention.stop());
  const deltas = new DeltaRunner({ store, blobs: live.blobs, clock, log, make: adapters.makeDelta });
  lifetime.onStop(() => deltas.stop());
  const metrics = createMetrics({
    devices: () => view.summaries().filter((d) => !d.revoked).length,
    devicesOnline: () => view.summaries().filter((d) => d.online).length,
    streamClients: () => hub.clients,
    brokerReached: () => broker.unreachedSince === null,
    batches: () => ({ ...ingest.counts }),
    waiting: () => ingest.waiting,
    retention: () => retention.counts,
    disk: () => live.disk,
    trust: () => trustStatus({ db: store, online, keys: ed25519Keys(verify), now: clock.now() }),
  });
  broker.onMessage((topic, payload) => {
    metrics.message(parseTopic(topic)?.channel ?? 'other', payload.length);
    view.handle(topic, payload);
  });
  const announceAll = () =>
    announceTo(view.summaries(), director).catch((error: Error) =>
      log.error('announcing orders', { error: error.message }),
    );
  broker.onConnect(() => void announceAll());
  await rollouts.start();
  const erasures = startErasures(erasureDeps(live, { ingest, rollouts }));
  lifetime.onStop(() => erasures.stop());
  void erasures.resume();
  return { ...live, director, rollouts, deltas, metrics, announceAll, erasures };
}
type Rooms = Awaited<ReturnType<typeof startRooms>>;

/** Where a device is known besides the database, and which files may name it. */
function erasureDeps(
  { config, adapters, store, clock, entropy, log, view, hub, mqtt: { broker } }: Live,
  { ingest, rollouts }: { ingest: Ingest; rollouts: RolloutRunner },
): ErasureDeps {
  const files = ['store.db', 'store.db-wal', 'store.db-shm', 'ca', 'keys', 'operator.json'];
  const paths = files.map((name) => join(config.stateDir, name));
  return {
    ...{ store, clock, entropy, log },
    async forget(device) {
      view.forget(device);
      await broker.disconnect(device);
      await ingest.forget(device);
      hub.forget();
    },
    eraseFromRollout: (tx, rollout, device) => rollouts.erase(adapters.openRollouts(tx), rollout, device),
    settle: () => void rollouts.settle(),
    clearTopics: (device) => clearTopics(broker, config.fleet, device),
    topics: TOPICS.length,
    search: (text, signal) => searchInChild({ paths, text }, signal),
    freeBytes: () => adapters.freeBytes(config.stateDir),
  };
}

const policyOf = ({ keepRawDays, keepMinuteDays, keepHourDays }: Config): Policy => ({
  rawMs: keepRawDays * DAY,
  minuteMs: keepMinuteDays * DAY,
  hourMs: keepHourDays * DAY,
});

/** Publishes `desired`: a retained hint, so a failure is only logged; it is published anew on the next connect. */
function announcer({ config, log, adapters, online }: Base, { broker }: OpenBroker) {
  const reads = announceReads({
    broker,
    fleet: config.fleet,
    log,
    zstd: adapters.codecs.zstd !== undefined,
    start: Buffer.from(adapters.entropy.bytes(8)).toString('hex'),
    signer: () => newestSigner(online, 'ack'),
  });
  return (device: string, directorVersion: number): void => {
    reads(device);
    const payload = JSON.stringify({ directorVersion } satisfies DesiredMessage);
    broker
      .publish(topicFor(config.fleet, device, 'desired'), payload, { qos: 1, retain: true })
      .catch((error: Error) => log.warn('publishing desired', { device, error: error.message }));
  };
}

async function announceTo(devices: readonly { id: string; revoked: boolean }[], director: Director) {
  for (const { id, revoked } of devices) if (!revoked) await director.announce(id);
}

/** Opened last: whoever gets an answer finds everything running. */
async function openPorts(rooms: Rooms): Promise<Ports> {
  const { config, adapters, lifetime, store, clock, log, entropy, metrics, mayConnect, tls, hub } = rooms;
  const ports: Ports = { http: 0, device: 0, ...rooms.mqtt.ports };
  const idempotency = createIdempotency(store, clock);
  const handlers = routesOf(rooms, ports);
  const http = { store, clock, entropy, log, idempotency, metrics, maxBlobBytes: config.maxBlob, handlers };
  const devicePort = await openDevicePort({ ...http, mayConnect }, tls, {
    host: config.deviceHost,
    port: config.devicePort,
    variable: SETTINGS.devicePort.variable,
  });
  lifetime.onStop(() => devicePort.close());
  ports.device = devicePort.port;
  const { version, dashboardDir } = adapters;
  const peoplePort = await openPeoplePort(
    { ...http, version, dashboardDir },
    { host: config.httpHost, port: config.httpPort, variable: SETTINGS.httpPort.variable },
  );
  lifetime.onStop(() => peoplePort.close());
  lifetime.onStop(() => hub.close());
  ports.http = peoplePort.port;
  lifetime.every(UPKEEP_MS, 'upkeep', async () => {
    await pruneAccess({ store, clock, entropy });
    await idempotency.prune();
    await renewCertificate(rooms, devicePort);
  });
  lifetime.every(QUIET_MS, 'ending incidents', async () => {
    for (const device of await endQuietFaults(store, clock.now())) rooms.view.touch(device);
  });
  // By itself: nothing else that fails may keep freshness from being signed.
  lifetime.every(UPKEEP_MS, 'signing online documents again', () => signAgain(rooms));
  lifetime.every(UPKEEP_MS, 'withdrawing revoked models', () => withdrawRevoked(rooms));
  // Devices may have moved to versions that no patch starts from yet.
  lifetime.every(UPKEEP_MS, 'looking for patches to make', async () => void rooms.deltas.wake());
  return ports;
}

/** Also at every start: a crash between the upload and this must not leave orders for what is revoked. */
const withdrawRevoked = async ({ store, rollouts }: Rooms): Promise<void> =>
  rollouts.withdraw(await revokedModels(store));

/** Snapshot, timestamp and the devices' director documents; and a line in the log for what a person has to do. */
async function signAgain(rooms: Rooms): Promise<void> {
  const { repository, director, clock, log, store, online, verify, announceAll } = rooms;
  try {
    if (await repository.resignDue(clock.now())) await announceAll();
    else await director.announceDue(clock.now());
  } finally {
    const { warnings } = await trustStatus({
      db: store,
      online,
      keys: ed25519Keys(verify),
      now: clock.now(),
    });
    for (const { severity, code, text, fix } of warnings)
      if (severity !== 'notice') log.warn(text, { code, severity, fix });
  }
}

function routesOf(rooms: Rooms, ports: Ports): Handlers {
  const { config, store, clock, entropy, verify, authority, blobs, online, repository } = rooms;
  const { view, hub, director, rollouts, announceAll } = rooms;
  const addresses = () => addressesOf(config, ports);
  const { fleet } = config;
  const { broker } = rooms.mqtt;
  const signer = () => newestSigner(online, 'ack');
  const watch = createWatch({ view, broker, fleet, clock, log: rooms.log, signer });
  const enrolment = createEnrolment({ store, clock, entropy, verify, authority, fleet, addresses });
  const describe = async () => {
    const { publicUrl, deviceUrl, mqttUrl: mqtt } = addresses();
    const trustReady = await enrolment.trustReady();
    const alarms = serverAlarms({ disk: rooms.disk, broker, now: clock.now() });
    return { version: rooms.adapters.version, fleet, publicUrl, deviceUrl, mqtt, trustReady, alarms };
  };
  const models = { store, blobs, repository, maxBlobBytes: config.maxBlob };
  const published = () => {
    void withdrawRevoked(rooms)
      .then(announceAll)
      .catch((error: Error) => rooms.log.error('withdrawing revoked models', { error: error.message }));
    void rooms.deltas.wake();
  };
  return {
    ...accessRoutes({ store, clock, entropy, hub, describe }),
    ...enrolmentRoutes({ enrolment, view, publicHost: publicHostOf(config) }),
    ...deviceRoutes({ policy: policyOf(config), store, clock, view, broker, fleet, watch }),
    ...erasureRoutes(rooms.erasures),
    ...driftRoutes(store, clock),
    ...trustRoutes({ store, repository, online, clock, verify, published }),
    ...modelRoutes({ ...models, published }),
    ...directorRoutes({ repository, director, blobs, store }),
    ...rolloutRoutes({ store, rollouts }),
  };
}

/** Issued anew at two thirds of its life; open connections keep the old one. */
async function renewCertificate(
  { authority, config, tls, mqtt }: Rooms,
  devicePort: { useCertificate(next: Base['tls']): void },
): Promise<void> {
  const next = await authority.serverTls(certifiedHosts(config));
  if (next.cert === tls.cert) return;
  Object.assign(tls, next);
  devicePort.useCertificate(next);
  mqtt.useCertificate?.(next);
}
