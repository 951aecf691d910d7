/**
 * The agent's uplink as it ships against the server as it ships, over mTLS on loopback.
 *
 * Draining a backlog of sealed batches (sent, verified, committed, answered by the server, marked in the outbox) beside
 * raw QoS 1 publishes of the same bytes to Mosquitto, which stores nothing, with as many in flight; in turns, medians.
 * Then an alarm from its commit to the server's signed word, a reconnect with and without TLS session resumption, and how
 * memory grows offline: 30 simulated days with SKEIN_LONG=1, else {@link SHORT_DAYS}.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Outbox, Watermark } from '@skein/agent/outbox/port.ts';
import { openSqliteOutbox } from '@skein/agent/outbox/sqlite-outbox.ts';
import { nativeVerify, systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { createDrain, type Drain } from '@skein/agent/uplink/drain.ts';
import type { Link } from '@skein/agent/uplink/link.ts';
import { type MqttTls, openMqttLink } from '@skein/agent/uplink/mqtt-link.ts';
import { brokerTls } from '@skein/agent/uplink/mqtt-tls.ts';
import type { EventRecord } from '@skein/protocol/records.ts';
import { type Stream, topicFor } from '@skein/protocol/topics.ts';
import { HOUR } from '@skein/protocol/units.ts';
import { connectAsync, type MqttClient } from 'mqtt';
import { isOnPath } from '../apt-tools.ts';
import { asShipped } from '../as-shipped.ts';
import { FLEET, type FleetState, makeFleetState, reportSigner } from '../load/fleet-state.ts';
import { predictionAt, RECORDS, START } from '../load/made-batches.ts';
import { startBroker } from '../load/mosquitto.ts';
import type { OfflineResult, OfflineSettings } from '../load/offline.ts';
import { startFleetServer } from '../load/server.ts';
import { startProxy, type TcpProxy } from '../load/tcp-proxy.ts';
import { stopDaemon } from '../processes.ts';
import { median } from '../timing.ts';
import type { Emit } from './measurement.ts';

const ROUNDS = 7;
const BATCHES = 100;
/** As the drain's own. */
const WINDOW = 4;
const ALARMS = 40;
const RECONNECTS = 15;
const SHORT_DAYS = 3;
const LONG_DAYS = 30;
const GROWTH_BYTES = 5_000_000;
const SHOWN_DAYS = [1, 2, 5, 10, 20];
const mib = (bytes: number): number => bytes / 2 ** 20;
const DEVICE = 'd-00000';

const log = { info() {}, warn() {}, error() {} };
const shared = { clock: systemClock, entropy: systemEntropy, log };
type Say = (metric: string, value: number, unit: string, bar?: string, holds?: boolean) => void;

function openLink(port: number, tls: () => MqttTls): Link {
  return openMqttLink({
    ...shared,
    ...{ url: `mqtts://localhost:${port}`, fleet: FLEET, device: DEVICE, tls, keepaliveMs: HOUR },
    reconnect: { baseMs: 1, capMs: 1 },
    will: (session) => JSON.stringify({ online: 0, session, boot: 'bench', agentVersion: '0' }),
  });
}

const connected = (link: Link): Promise<void> => new Promise((resolve) => link.onConnect(resolve));

/** The outbox, and who waits for a stream to be delivered up to its end. */
class Backlog {
  readonly outbox: Outbox;
  #made = 0;
  #whole: (() => void) | undefined;

  constructor(path: string) {
    const signer = reportSigner(DEVICE);
    this.outbox = openSqliteOutbox({
      ...shared,
      path,
      fleet: FLEET,
      device: DEVICE,
      signer,
      reserveBytes: 0,
    });
    const delivered = this.outbox.delivered.bind(this.outbox);
    this.outbox.delivered = (ack: Watermark) => {
      const moved = delivered(ack);
      const { deliveredNext, sealedNext } = this.outbox.mark(ack.stream);
      if (deliveredNext === sealedNext) this.#whole?.();
      return moved;
    };
  }

  /** @returns the sealed bytes */
  make(): Uint8Array[] {
    for (let batch = 0; batch < BATCHES; batch++) {
      for (let i = 0; i < RECORDS; i++) this.outbox.append('predictions', predictionAt(this.#made++));
      this.outbox.commit();
      while (this.outbox.seal('predictions'));
    }
    return this.outbox.pending('predictions', 2 * BATCHES).map(({ bytes }) => bytes);
  }

  /** Resolves when the server has said that it stored what was sealed, in milliseconds. */
  async drained(start: () => void): Promise<number> {
    const began = performance.now();
    await new Promise<void>((resolve) => {
      this.#whole = resolve;
      start();
    });
    this.#whole = undefined;
    return performance.now() - began;
  }
}

async function rawPublish(client: MqttClient, bytes: readonly Uint8Array[]): Promise<number> {
  const topic = topicFor(FLEET, DEVICE, 'batch/predictions');
  const began = performance.now();
  let next = 0;
  const worker = async () => {
    while (next < bytes.length) await client.publishAsync(topic, Buffer.from(bytes[next++]!), { qos: 1 });
  };
  await Promise.all(Array.from({ length: WINDOW }, worker));
  return performance.now() - began;
}

async function drains(backlog: Backlog, drain: Drain, peer: MqttClient | undefined, say: Say): Promise<void> {
  const [ours, theirs]: number[][] = [[], []];
  let bytes = 0;
  for (let round = -1; round < ROUNDS; round++) {
    const sealed = backlog.make();
    bytes = sealed.reduce((sum, each) => sum + each.length, 0) / sealed.length;
    const raw = async () => peer && theirs!.push(sealed.length / ((await rawPublish(peer, sealed)) / 1000));
    if (round % 2 === 0) await raw();
    ours!.push(sealed.length / ((await backlog.drained(() => drain.send())) / 1000));
    if (round % 2 !== 0) await raw();
    // The first warms up.
    if (round < 0) for (const rates of [ours, theirs]) rates!.length = 0;
  }
  say('drained: stored, answered and marked', median(ours!), 'batches/s');
  say('records in them', median(ours!) * RECORDS, 'records/s');
  say('a sealed batch', bytes, 'B');
  if (!peer) return;
  say('raw QoS 1 to mosquitto, nothing stored', median(theirs!), 'batches/s');
  say('drained beside raw', median(ours!.map((each, i) => each / theirs![i]!)), '×');
}

async function alarms(backlog: Backlog, drain: Drain, say: Say): Promise<void> {
  const { outbox } = backlog;
  const times: number[] = [];
  const stream: Stream = 'events';
  for (let i = 0; i < ALARMS; i++) {
    outbox.append(stream, alarmAt(i));
    times.push(
      await backlog.drained(() => {
        outbox.commit();
        drain.send();
      }),
    );
  }
  say('alarm, commit to stored and answered, p50', median(times), 'ms');
}

const alarmAt = (i: number): EventRecord => ({
  ...{ ts: START + i, mono: i, boot: '0123456789abcdef', kind: 'incident' },
  event: {
    ...{ type: 'new', id: `bench-${i}`, before: null },
    after: { code: 'TEMPERATURE_HIGH', severity: 'warning', start_time: START, end_time: null },
  },
});

async function reconnects(proxy: TcpProxy, state: FleetState, say: Say): Promise<void> {
  const trust = { ca: state.ca, certificate: state.certificates[DEVICE]!, key: state.key };
  const full = { ca: trust.ca, cert: trust.certificate, key: trust.key };
  const kinds = [
    { name: 'resumed', tls: brokerTls('mqtts://localhost', () => trust) },
    { name: 'in full', tls: () => full },
  ];
  const measured = kinds.map(() => ({ bytes: [] as number[], ms: [] as number[] }));
  for (let round = -1; round < RECONNECTS; round++) {
    for (const [kind, { tls }] of kinds.entries()) {
      proxy.reset();
      const began = performance.now();
      const link = openLink(proxy.port, tls);
      const ready = connected(link);
      link.start();
      await ready;
      if (round >= 0) measured[kind]!.ms.push(performance.now() - began);
      // The broker's confirmation comes after its tickets.
      await link.publish('status', '{}');
      if (round >= 0) measured[kind]!.bytes.push(proxy.bytes());
      await link.stop();
    }
  }
  const [resumed, whole] = measured.map(({ bytes, ms }) => ({ bytes: median(bytes), ms: median(ms) }));
  say(
    'connect, subscribe, first word: resumed',
    resumed!.bytes,
    'B',
    '< in full',
    resumed!.bytes < whole!.bytes,
  );
  say('connect, subscribe, first word: in full', whole!.bytes, 'B');
  say('until subscribed: resumed', resumed!.ms, 'ms');
  say('until subscribed: in full', whole!.ms, 'ms');
}

async function offline(dir: string, state: FleetState, say: Say): Promise<void> {
  const days = process.env.SKEIN_LONG === '1' ? LONG_DAYS : SHORT_DAYS;
  const nobody = createServer().listen(0, '127.0.0.1');
  await once(nobody, 'listening');
  const { port } = nobody.address() as { port: number };
  nobody.close();
  const tls = { ca: state.ca, certificate: state.certificates[DEVICE]!, key: state.key };
  const settings: OfflineSettings = { path: join(dir, 'offline.db'), days, port, tls };
  const file = join(dir, 'offline.json');
  writeFileSync(file, JSON.stringify(settings), { mode: 0o600 });
  const script = join(import.meta.dirname, '../load/offline.ts');
  const { flags, env } = asShipped();
  const quiet = '--disable-warning=ExperimentalWarning';
  const child = spawn(process.execPath, [...flags, quiet, '--expose-gc', script, file], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const said = JSON.parse(await text(child.stdout)) as OfflineResult;
  const last = said.days.at(-1)!;
  say(`${days} days offline: tries to connect`, said.attempts, '');
  say(`${days} days offline: records accepted`, said.accepted, '');
  say(`${days} days offline: of them dropped at the cap`, said.dropped, '');
  for (const day of SHOWN_DAYS.filter((each) => each < days))
    say(`${days} days offline: memory after day ${day}`, mib(said.days[day - 1]!.rssBytes), 'MiB');
  say(`${days} days offline: memory at the end`, mib(last.rssBytes), 'MiB');
  say(`${days} days offline: of it JavaScript's own`, mib(last.heapBytes), 'MiB');
  const grown = last.rssBytes - said.warm.rssBytes;
  say(
    `${days} days offline: grown since the first 10 minutes`,
    mib(grown),
    'MiB',
    `≤ ${GROWTH_BYTES / 1e6} MB`,
    grown <= GROWTH_BYTES,
  );
}

export async function run(emit: Emit): Promise<void> {
  const say: Say = (metric, value, unit, bar, holds) =>
    emit({ bench: 'uplink', metric, value, unit, bar: bar ?? null, holds: holds ?? null });
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-uplink-'));
  const state = await makeFleetState(join(dir, 'server'), [DEVICE]);
  const server = await startFleetServer(dir);
  const mosquitto = isOnPath('mosquitto') ? await startBroker(dir, state) : undefined;
  const full = { ca: state.ca, cert: state.certificates[DEVICE]!, key: state.key };
  const backlog = new Backlog(join(dir, 'outbox.db'));
  const link = openLink(server.mqtts, () => full);
  const about = {
    device: DEVICE,
    ackKeys: () => [state.ackKey],
    verify: nativeVerify,
    batchIntervalMs: HOUR,
    takesNonces: () => true,
  };
  const { outbox } = backlog;
  const trouble = (error: Error) => {
    throw error;
  };
  const drain = createDrain({ ...shared, ...about, link, outbox, trouble });
  let peer: MqttClient | undefined;
  try {
    if (mosquitto) {
      const url = `mqtts://localhost:${mosquitto.port}`;
      peer = await connectAsync(url, { ...full, clientId: DEVICE, protocolVersion: 4, reconnectPeriod: 0 });
    }
    const ready = connected(link);
    drain.start();
    link.start();
    await ready;
    await drains(backlog, drain, peer, say);
    await alarms(backlog, drain, say);
    drain.stop();
    await link.stop();
    const proxy = await startProxy(server.mqtts);
    await reconnects(proxy, state, say).finally(() => proxy.close());
  } finally {
    await peer?.endAsync(true);
    await link.stop();
    outbox.close();
    await mosquitto?.stop();
    await stopDaemon(server.daemon);
  }
  try {
    await offline(dir, state, say);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
