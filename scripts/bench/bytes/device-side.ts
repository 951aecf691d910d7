/** The agent's own uplink on an enrolled identity: real outbox, drain, link, presence and trust, driven by hand. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '@skein/agent/config/schema.ts';
import { diskIdentity } from '@skein/agent/identity/disk-identity.ts';
import { SMALL_CURVES } from '@skein/agent/identity/http-tls.ts';
import { nodeKeys } from '@skein/agent/node-keys.ts';
import { nativeZstd } from '@skein/agent/node-zstd.ts';
import { openSqliteOutbox } from '@skein/agent/outbox/sqlite-outbox.ts';
import { nativeSigner, nativeVerify, systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { FormChoice } from '@skein/agent/uplink/batch-form.ts';
import { createDrain } from '@skein/agent/uplink/drain.ts';
import type { Link } from '@skein/agent/uplink/link.ts';
import { openMqttLink } from '@skein/agent/uplink/mqtt-link.ts';
import { brokerTls } from '@skein/agent/uplink/mqtt-tls.ts';
import { createPresence, statusMessage } from '@skein/agent/uplink/presence.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { HelloMessage } from '@skein/protocol/messages.ts';
import type { RecordOf } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { pause } from './wire.ts';

const DELIVERED_WITHIN_MS: Millis = 30_000;
const silent = { info() {}, warn() {}, error() {} };

export interface DeviceSide {
  link: Link;
  /** Resolves once everybody heard that the device is there, and it heard what is retained for it. */
  connect(): Promise<void>;
  /** A connection that broke, until it is there again. */
  reconnect(): Promise<void>;
  /** As on connect and at each poll: over a connection of its own, which takes up the session of the one before. */
  refresh(): Promise<void>;
  /** What an interval ends with: sealed, sent, acknowledged. */
  deliver<S extends Stream>(records: Partial<{ [K in S]: RecordOf[K][] }>): Promise<void>;
  state(message: { ts: number }): void;
  readonly form: string;
  close(): Promise<void>;
}

/** @param hello what the agent that this identity belongs to said of itself */
export function openDeviceSide(
  stateDir: string,
  config: Config,
  hello: HelloMessage,
  keepaliveMs = config.uplink.keepAlive,
): DeviceSide {
  const identity = diskIdentity(stateDir).load()!;
  const { ca, certificate, tlsKey: key, device, fleet } = identity;
  const curves = config.profile === 'metered' ? { curves: SMALL_CURVES } : {};
  const tls = () => ({ ca, certificate, key, ...curves });
  const clock = systemClock;
  const shared = { clock, entropy: systemEntropy, log: silent };
  const scratch = mkdtempSync(join(stateDir, 'bytes-'));
  const trustStore = new SqliteTrustStore(join(stateDir, 'trust.db'));
  const fetcher = httpFetcher(identity.deviceUrl, tls, clock);
  const trust = new TrustClient({
    ...{ fetcher, store: trustStore, clock, keys: nodeKeys, device },
    hardwareTags: [],
  });
  const ackKeys = () => trust.view()?.ackKeys ?? [];
  const form = new FormChoice({ device, json: false, verify: nativeVerify, ackKeys, zstd: nativeZstd });
  const outbox = openSqliteOutbox({
    ...{ path: join(scratch, 'outbox.db'), fleet, device, clock, entropy: systemEntropy, reserveBytes: 0 },
    signer: nativeSigner(Buffer.from(identity.reportSeed, 'hex')),
    form: () => form.form(),
  });
  const who = { boot: hello.runtime.slice(0, 16), agentVersion: hello.agentVersion };
  const link = openMqttLink({
    ...{ ...shared, url: identity.mqttUrl, fleet, device, keepaliveMs },
    tls: brokerTls(identity.mqttUrl, tls),
    unconfirmedBatches: config.profile === 'metered',
    will: (session) => JSON.stringify(statusMessage(false, session, who)),
  });
  const trouble = (error: Error) => {
    throw error;
  };
  const drain = createDrain({
    ...{ ...shared, link, outbox, device, ackKeys, verify: nativeVerify, trouble },
    batchIntervalMs: config.uplink.batchInterval,
    takesNonces: () => form.takesNonces(),
  });
  const presence = createPresence({ ...who, link, hello: () => hello, log: silent });
  const retained = new Promise<void>((resolve) =>
    link.onMessage('reads', (payload) => {
      form.hear(payload);
      resolve();
    }),
  );
  return {
    link,
    async connect() {
      const up = new Promise<void>((resolve) => link.onConnect(resolve));
      link.start();
      drain.start();
      await up;
      await retained;
    },
    async reconnect() {
      await link.stop();
      const up = new Promise<void>((resolve) => link.onConnect(resolve));
      link.start();
      await up;
    },
    async refresh() {
      fetcher.close();
      await trust.refresh();
    },
    async deliver(records) {
      for (const [stream, all] of Object.entries(records))
        for (const record of all as never[]) outbox.append(stream as Stream, record);
      outbox.commit();
      drain.send();
      const end = performance.now() + DELIVERED_WITHIN_MS;
      while (outbox.ledger().some(({ pending }) => pending > 0)) {
        if (performance.now() > end) throw new SkeinError('UNREACHABLE', 'the server does not acknowledge');
        await pause(2);
      }
    },
    state: presence.state,
    get form() {
      return form.form().encoding;
    },
    async close() {
      await presence.goodbye();
      drain.stop();
      await link.stop();
      outbox.close();
      fetcher.close();
      trustStore.close();
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}
