/** What the doctor looks at once a device has an identity: clock, certificate, trust, server, broker, models. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { SkeinError } from '@skein/protocol/errors.ts';
import { DAY, MIB } from '@skein/protocol/units.ts';
import { readBlob } from '../at-rest/disk-blob.ts';
import type { Config } from '../config/schema.ts';
import { type Identity, renewalDueAt } from '../identity/identity.ts';
import { x509Identity } from '../identity/x509-identity.ts';
import { systemClock } from '../system-clock.ts';
import { httpFetcher } from '../update/http-fetcher.ts';
import { SqliteTrustStore } from '../update/sqlite-trust.ts';
import { openUpdateStore } from '../update/sqlite-update-store.ts';
import type { UpdateState } from '../update/state.ts';
import { type Finding, fail, perform } from './doctor-check.ts';
import { keyStanding, tryAtRest } from './open-at-rest.ts';

export async function examineEnrolled(config: Config, identity: Identity, now: number): Promise<Finding[]> {
  return [
    await perform('clock', () => clockOf(config, identity, now)),
    await perform('certificate', () => certificateOf(identity, now)),
    await perform('trust', () => trustOf(config, now)),
    await perform('server', () => serverOf(identity)),
    await perform('broker', () => brokerOf(identity)),
    await perform('models', () => modelsOf(config)),
  ];
}

function clockOf({ stateDir }: Config, identity: Identity, now: number): string {
  const floor = Math.max(identity.enrolledAt, trustState(stateDir)?.highestTimeAt ?? 0);
  if (now < floor - DAY)
    fail(
      `the clock says ${new Date(now).toISOString()}, before ${new Date(floor).toISOString()}`,
      'Set up NTP.',
    );
  return new Date(now).toISOString();
}

function certificateOf(identity: Identity, now: number) {
  const dates = x509Identity.datesOf(identity.certificate);
  const until = new Date(dates.notAfter).toISOString();
  if (now > dates.notAfter)
    fail(`expired at ${until}`, 'Let the agent run with a connection: it renews with its report key.');
  if (now < renewalDueAt(dates)) return `valid until ${until}`;
  return { warning: `valid until ${until}, renewal is due`, fix: 'Let the agent run with a connection.' };
}

function trustState(stateDir: string) {
  const path = join(stateDir, 'trust.db');
  if (!existsSync(path)) return undefined;
  const store = new SqliteTrustStore(path);
  try {
    return store.load();
  } finally {
    store.close();
  }
}

function trustOf({ stateDir }: Config, now: number) {
  const state = trustState(stateDir);
  if (!state) return fail('no pinned roots are stored', 'Enrol this device again with a new token.');
  if (state.refreshedAt === 0)
    return { warning: 'metadata was never refreshed', fix: 'Let the agent run with a connection.' };
  const at = `signed metadata refreshed at ${new Date(state.refreshedAt).toISOString()}`;
  if (now - state.refreshedAt < DAY) return at;
  return { warning: at, fix: 'Check that this device reaches the server on its device port.' };
}

async function serverOf(identity: Identity): Promise<string> {
  const { ca, certificate, tlsKey: key, deviceUrl } = identity;
  const fetcher = httpFetcher(deviceUrl, () => ({ ca, certificate, key }), systemClock);
  try {
    await fetcher.document('/v1/director/targets.json', 8 * MIB);
    return `${deviceUrl} answers over mTLS`;
  } finally {
    fetcher.close();
  }
}

function brokerOf({ mqttUrl, ca, certificate, tlsKey }: Identity): Promise<string> {
  const { hostname, port } = new URL(mqttUrl);
  const fix = 'Check the network and firewall for the MQTT port.';
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => reject(new SkeinError('UNREACHABLE', `${mqttUrl}: ${why}`, { fix }));
    const options = {
      host: hostname,
      port: Number(port || 8883),
      ca,
      cert: certificate,
      key: tlsKey,
      timeout: 5_000,
    };
    const socket = connectTls(options, () => {
      socket.end();
      resolve(`${mqttUrl} answers over mTLS`);
    });
    socket.once('error', (error) => refuse(error.message));
    socket.once('timeout', () => {
      socket.destroy();
      refuse('no answer within 5 s');
    });
  });
}

async function checkBlob(path: string, sha256: string, blobKey?: Uint8Array): Promise<void> {
  const found = createHash('sha256')
    .update(await readBlob(path, blobKey))
    .digest('hex');
  if (found !== sha256)
    fail(`${path} is damaged`, 'Restart the agent: it fetches the blob again. Check the disk.');
}

async function modelsOf(config: Config) {
  const { stateDir } = config;
  const path = join(stateDir, 'update.db');
  if (!existsSync(path))
    return { warning: 'no model was ever ordered', fix: 'Start a rollout: `skein rollouts create`.' };
  const store = openUpdateStore(path);
  const states = store.models().map((model) => JSON.parse(store.load(model)!) as UpdateState);
  store.close();
  const committed = states.flatMap((state) =>
    state.committed ? [{ name: state.model, ...state.committed }] : [],
  );
  if (committed.length === 0)
    return { warning: 'no model is installed', fix: 'Start a rollout: `skein rollouts create`.' };
  const names = committed.map((release) => `${release.name}@${release.version}`).join(', ');
  if (keyStanding(config).outside) return `${names}; encrypted, so their bytes were not looked at`;
  const blobKey = (await tryAtRest(config))?.keys.models;
  for (const release of committed)
    for (const blob of [release.manifest, release.model, release.golden])
      await checkBlob(join(stateDir, 'models', blob.sha256), blob.sha256, blobKey);
  return names;
}
