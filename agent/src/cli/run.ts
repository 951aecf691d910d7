/** `skein-agent run`: the agent with its real adapters. What is not needed to predict is loaded after the first prediction. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Log } from '@skein/protocol/ports.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { Agent } from '../agent.ts';
import type { LocalApiOptions } from '../api/http-local-api.ts';
import { blobCipher } from '../at-rest/node-blob-cipher.ts';
import { rowCipher } from '../at-rest/node-row-cipher.ts';
import { memoryFolder } from '../disk-memory.ts';
import { diskIncidents } from '../health/disk-incidents.ts';
import { nameBoard, readInventory } from '../health/linux-inventory.ts';
import { linuxProbe } from '../health/linux-probe.ts';
import { diskIdentity } from '../identity/disk-identity.ts';
import { believable, SMALL_CURVES, type TlsTrust } from '../identity/http-tls.ts';
import type { Identity, IdentityStore } from '../identity/identity.ts';
import { keepRenewed } from '../identity/renew.ts';
import { enrolledFrom, x509Identity } from '../identity/x509-identity.ts';
import { Engine } from '../inference/engine.ts';
import { nodeKeys } from '../node-keys.ts';
import { nativeZstd } from '../node-zstd.ts';
import { openSqliteOutbox } from '../outbox/sqlite-outbox.ts';
import { workerPictures } from '../pipeline/worker-pictures.ts';
import { pushDoor } from '../sources/push-door.ts';
import { lockState } from '../sqlite-lock.ts';
import { nativeSigner, nativeVerify, systemClock, systemEntropy } from '../system-clock.ts';
import { installedIn } from '../update/barred.ts';
import { childPreflight } from '../update/child-preflight.ts';
import { childReserve } from '../update/child-reserve.ts';
import { cronWindows } from '../update/cron-windows.ts';
import { openScratch } from '../update/disk-scratch.ts';
import { openDiskSlots } from '../update/disk-slots.ts';
import { openGate } from '../update/gate.ts';
import { httpFetcher } from '../update/http-fetcher.ts';
import { linuxLink } from '../update/linux-link.ts';
import { SqliteTrustStore } from '../update/sqlite-trust.ts';
import { openOrReplaceUpdateStore } from '../update/sqlite-update-store.ts';
import { TrustClient } from '../update/trust-client.ts';
import { FormChoice } from '../uplink/batch-form.ts';
import { addressFile } from './local-client.ts';
import { openAtRest } from './open-at-rest.ts';
import { backendOptions, engineOptions, openBackends } from './open-backends.ts';
import { openDownloads } from './open-downloads.ts';
import { openSinks } from './open-sinks.ts';
import { openSources } from './open-sources.ts';
import { openUplink } from './open-uplink.ts';
import { readToken, type Settings } from './settings.ts';
import { AGENT_VERSION } from './version.ts';

export interface RunningAgent {
  readonly agent: Agent;
  readonly device: string;
  stop(): Promise<void>;
}

/** What was opened, closed in the opposite order. */
class Opened {
  readonly #closers: (() => void)[] = [];

  add<T>(part: T, close: (part: T) => void): T {
    this.#closers.push(() => close(part));
    return part;
  }

  close(): void {
    for (const close of this.#closers.splice(0).reverse()) close();
  }
}

/** @throws SkeinError NOT_ENROLLED, CONFLICT, PORT_IN_USE, DISK_FULL, DISK_FAILED, DATA_KEY_*, KEYS_INVALID */
export async function startAgent(settings: Settings, log: Log): Promise<RunningAgent> {
  const { stateDir } = settings.config;
  const store = diskIdentity(stateDir);
  const identity = withServer(enrolled(store), settings);
  const opened = new Opened();
  opened.add(lockState(stateDir), (lock) => lock.release());
  try {
    const agent = await compose(settings, identity, store, log, opened);
    await agent.start();
    const address = addressFile(stateDir);
    writeFileSync(
      address,
      `${JSON.stringify({ url: agent.apiUrl, grpc: agent.grpcAddress, pid: process.pid })}\n`,
    );
    opened.add(address, (path) => rmSync(path, { force: true }));
    const stop = () => agent.stop().finally(() => opened.close());
    return { agent, device: identity.device, stop };
  } catch (error) {
    opened.close();
    throw error;
  }
}

function enrolled(store: IdentityStore): Identity {
  const identity = store.load();
  if (identity) return identity;
  throw new SkeinError('NOT_ENROLLED', 'this device is not enrolled', {
    fix: 'Run `skein-agent enroll --server URL --token TOKEN` with a token of `skein tokens create`.',
  });
}

const withServer = (identity: Identity, { config }: Settings): Identity => ({
  ...identity,
  ...config.server,
});

/** Where the buffer notes each step in memory; without, it does on the card. */
const notes = (stateDir: string, log: Log): Promise<string | undefined> =>
  memoryFolder('notes', stateDir).catch((thrown: unknown) => {
    log.warn('the buffer writes more to the card', { why: asSkeinError(thrown).message });
    return undefined;
  });

async function compose(
  { config, file }: Settings,
  identity: Identity,
  store: IdentityStore,
  log: Log,
  opened: Opened,
): Promise<Agent> {
  const { stateDir } = config;
  const clock = systemClock;
  const atRest = await openAtRest(config, log);
  const blobs = atRest && blobCipher(atRest.keys.models, atRest.status.encrypts);
  const door = pushDoor();
  const hardware = readInventory(config.tags);
  const trustStore = opened.add(new SqliteTrustStore(join(stateDir, 'trust.db')), (db) => db.close());
  let current = identity;
  const timeFloor = (): Millis => Math.max(identity.enrolledAt, trust.now());
  const curves = config.profile === 'metered' ? { curves: SMALL_CURVES } : {};
  /** Below the floor the server is checked at the floor; see identity/http-tls.ts. */
  const tls = ({ ca, certificate, tlsKey: key }: Identity): TlsTrust => ({
    ...{ ca, certificate, key, ...curves },
    ...believable(clock.now(), timeFloor()),
  });
  const fetcher = opened.add(
    httpFetcher(identity.deviceUrl, () => tls(current), clock),
    (f) => f.close(),
  );
  const updateStore = opened.add(openOrReplaceUpdateStore(join(stateDir, 'update.db'), log), (db) =>
    db.close(),
  );
  const trust = new TrustClient({
    fetcher,
    store: trustStore,
    clock,
    keys: nodeKeys,
    device: identity.device,
    hardwareTags: hardware.tags,
    installed: () => installedIn(updateStore),
    enrolledAt: enrolledFrom(identity),
  });
  const gate = openGate({
    windows: cronWindows(config.update.windows),
    link: linuxLink(config.update.meteredInterfaces, clock),
    metered: config.update.metered,
    urgent: config.update.urgent === 'obey',
    ...{ clock, timeFloor },
  });
  mkdirSync(join(stateDir, 'models'), { recursive: true });
  const slots = await openDiskSlots({
    ...{ directory: join(stateDir, 'models'), reserve: childReserve(log), cipher: blobs },
    rewritten: () => atRest?.settled('models'),
    trouble: ({ message, fix }) => log.warn('models lie as before on the disk', { error: message, fix }),
  });
  const downloads = opened.add(
    openDownloads(config, {
      ...{ fetcher, slots, gate, clock, log, entropy: systemEntropy },
      trust: () => tls(current),
    }),
    (all) => all.close(),
  );
  const { supply, deltas, flights, alsoKept, site } = downloads;
  const scratch = await openScratch(config.update.measure, stateDir, log, blobs);
  if (scratch) opened.add(scratch, (memory) => memory.close());
  const { threads, providers } = config.inference;
  const backends = opened.add(openBackends(config, blobs?.key), (all) => all.close());
  const signer = nativeSigner(Buffer.from(identity.reportSeed, 'hex'));
  const form = new FormChoice({
    device: identity.device,
    json: config.uplink.format === 'json',
    verify: nativeVerify,
    ackKeys: () => trust.view()?.ackKeys ?? [],
    zstd: nativeZstd,
  });
  const boot = Buffer.from(systemEntropy.bytes(8)).toString('hex');
  const noteIn = config.storage === 'sd' ? await notes(stateDir, log) : undefined;
  return new Agent({
    config,
    identity,
    agentVersion: AGENT_VERSION,
    runtime: `node ${process.version}`,
    hardware,
    nameBoard,
    clock,
    entropy: systemEntropy,
    log,
    boot,
    sources: openSources(config.sources, file, { clock, entropy: systemEntropy, door }),
    sinks: openSinks(config.sinks, file, { clock, entropy: systemEntropy, boot }),
    pictures: workerPictures(),
    probe: linuxProbe(stateDir, clock),
    incidentStore: diskIncidents(join(stateDir, 'incidents.json'), log),
    engine: new Engine({ backend: backends, clock, ...engineOptions(config) }),
    backends,
    trust,
    residentBytes: () => process.memoryUsage.rss(),
    timeFloor,
    site,
    update: {
      fetcher,
      ...{ supply, deltas, flights, alsoKept, gate },
      slots,
      preflight: childPreflight({
        threads,
        providers,
        backends: backendOptions(config),
        blobKey: blobs?.key,
      }),
      ...(scratch ? { scratch } : {}),
      store: updateStore,
    },
    atRest: atRest?.status,
    openOutbox: (trouble) =>
      openSqliteOutbox({
        path: join(stateDir, 'outbox.db'),
        fleet: identity.fleet,
        device: identity.device,
        clock,
        entropy: systemEntropy,
        signer,
        form: () => form.form(),
        capBytes: config.outbox.caps,
        maxAgeMs: config.outbox.ages as Partial<Record<Stream, Millis>>,
        policies: config.outbox.policies,
        alone: config.storage === 'sd',
        ...(atRest ? { cipher: rowCipher(atRest.keys.outbox, atRest.status.encrypts) } : {}),
        rewritten: () => atRest?.settled('outbox'),
        noteIn,
        trouble,
      }),
    openUplink: (outbox, deps) =>
      openUplink({
        outbox,
        deps,
        config,
        identity,
        form,
        tls: () => tls(current),
        boot,
        agentVersion: AGENT_VERSION,
        log,
      }),
    async openApi(deps) {
      const { openLocalApi } = await import('../api/http-local-api.ts');
      return openLocalApi({ ...deps, readings: door }, apiOptions(config));
    },
    async openGrpc(models) {
      const { openGrpc } = await import('./open-grpc.ts');
      return openGrpc({ models, clock }, config.api, readToken(config), log);
    },
    startRenewal: () =>
      keepRenewed(
        {
          keys: x509Identity,
          store,
          server: {
            async renew(request) {
              const { httpRenew } = await import('../identity/http-enroll.ts');
              const trust = () => ({ ca: current.ca, verifyAt: tls(current).verifyAt });
              return httpRenew(identity.deviceUrl, trust).renew(request);
            },
          },
          clock,
          timeFloor,
          renewed(next) {
            log.info('certificate renewed', { notAfter: x509Identity.datesOf(next.certificate).notAfter });
            current = next;
            downloads.renewed();
          },
          failed: (error) => log.warn('certificate not renewed', { error: error.message, fix: error.fix }),
        },
        identity,
      ),
  });
}

function apiOptions({ api }: Settings['config']): LocalApiOptions {
  const { host, port, socket, busyPoll } = api;
  const token = readToken({ api });
  return {
    host,
    port,
    busyPoll,
    ...(socket === undefined ? {} : { socket }),
    ...(token === undefined ? {} : { token }),
  };
}
