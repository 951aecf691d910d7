#!/usr/bin/env node
/**
 * The fleet server's process: the real adapters, the environment, the signals. Prints one JSON line
 * `{"ready":true,"ports":{…}}` on standard output when it serves; its log is JSON lines on standard error.
 * Settings: `--config FILE` (YAML) and the environment; see `config.ts`.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { describeError, SkeinError } from '@skein/protocol/errors.ts';
import { createApiKey } from './access/sessions.ts';
import type { Adapters, OpenBroker } from './adapters.ts';
import { openDiskBlobs } from './blobs/disk-blobs.ts';
import { startAedesBroker } from './broker/aedes-broker.ts';
import { connectMqttBroker } from './broker/mqtt-broker.ts';
import { type Config, resolveConfig, SETTINGS } from './config.ts';
import { readConfigFile } from './disk-config.ts';
import { freeBytes } from './disk-space.ts';
import { openX509Authority } from './fleet/x509-authority.ts';
import { createJsonLog } from './json-log.ts';
import { openDiskOnlineKeys } from './models/disk-online-keys.ts';
import { makeDeltaInWorker } from './models/worker-delta.ts';
import { nativeCodecs } from './node-codecs.ts';
import { sqliteRollouts } from './rollouts/sqlite-rollouts.ts';
import { type RunningServer, startServer } from './server.ts';
import { openSqliteStore } from './store/sqlite-store.ts';
import { nativeVerify, systemClock, systemEntropy } from './system-clock.ts';

const PACKAGE = join(import.meta.dirname, '..', 'package.json');

export const realAdapters: Adapters = {
  clock: systemClock,
  entropy: systemEntropy,
  verify: nativeVerify,
  codecs: nativeCodecs,
  log: createJsonLog('fleet-server', systemClock.now, (line) => void process.stderr.write(line)),
  version: (JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }).version,
  dashboardDir: join(import.meta.dirname, '..', 'dashboard', 'dist'),
  openStore: openSqliteStore,
  freeBytes,
  openAuthority: openX509Authority,
  openBlobs: openDiskBlobs,
  openOnlineKeys: openDiskOnlineKeys,
  openRollouts: sqliteRollouts,
  makeDelta: makeDeltaInWorker,
  openBroker,
};

async function openBroker(config: Config, { tls, mayConnect, log }: Parameters<Adapters['openBroker']>[1]) {
  const common = { fleet: config.fleet, maxPacketBytes: config.maxPacket, log };
  if (config.brokerUrl) {
    const file = (path: string) => (path ? readFileSync(path, 'utf8') : undefined);
    const [ca, cert, key] = [config.brokerCaFile, config.brokerCertFile, config.brokerKeyFile].map(file);
    const broker = await connectMqttBroker({
      ...common,
      clock: systemClock,
      url: config.brokerUrl,
      ...(config.brokerUsername ? { username: config.brokerUsername } : {}),
      ...(config.brokerPassword ? { password: config.brokerPassword } : {}),
      tls: { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) },
    });
    return { broker } satisfies OpenBroker;
  }
  const broker = await startAedesBroker({
    ...common,
    tls,
    mayConnect,
    devices: { host: config.deviceHost, port: config.mqttsPort, variable: SETTINGS.mqttsPort.variable },
    local: { host: config.mqttHost, port: config.mqttPort, variable: SETTINGS.mqttPort.variable },
  });
  return { broker, ports: broker.ports, useCertificate: broker.useCertificate };
}

/** A server that nobody has a key for gets its first one: into `operator.json` beside the database, mode 0600. */
async function ensureFirstKey(config: Config, { store, url }: RunningServer): Promise<void> {
  const path = join(config.stateDir, 'operator.json');
  const some = await store.selectFrom('api_keys').select('id').limit(1).executeTakeFirst();
  if (some || existsSync(path)) return;
  const key = await createApiKey(store, { name: 'operator', role: 'admin' }, systemClock, systemEntropy);
  writeFileSync(path, `${JSON.stringify({ url, key })}\n`, { mode: 0o600 });
}

function usage(): string {
  const lines = Object.entries(SETTINGS).map(
    ([key, { variable, doc, default: value }]) =>
      `  ${key.padEnd(15)} ${variable.padEnd(23)} ${doc}${value === '' ? '' : ` (${value})`}`,
  );
  return `Usage: node fleet-server/src/main.ts [--config FILE]\n\nKeys of the file and their variables:\n${lines.join('\n')}\n`;
}

function readConfig(file: string | undefined): Config {
  const config = resolveConfig(file === undefined ? undefined : readConfigFile(file), process.env);
  return { ...config, stateDir: resolve(config.stateDir) };
}

/** Resolves when asked to stop: by a signal, or because the parent that holds our IPC channel is gone. */
const untilAsked = (): Promise<void> =>
  new Promise((done) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => done());
    if (process.channel) process.once('disconnect', () => done());
  });

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { config: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) {
    process.stdout.write(usage());
    return 0;
  }
  const asked = untilAsked();
  const config = readConfig(values.config);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const server = await startServer(config, realAdapters);
  await ensureFirstKey(config, server);
  process.stdout.write(`${JSON.stringify({ ready: true, ports: server.ports, url: server.url })}\n`);
  await asked;
  await server.close();
  return 0;
}

if (import.meta.main) {
  process.on('unhandledRejection', (error) => {
    realAdapters.log.error('unhandled', { error: error instanceof Error ? error.stack : String(error) });
  });
  try {
    process.exit(await main());
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    process.exit(error instanceof SkeinError && error.blame === 'operator' ? 2 : 1);
  }
}
