/**
 * The offline life of an agent's data plane, a process of its own: `offline.ts SETTINGS.json`. Real outbox, drain, link and
 * presence on a clock that is moved on; every due try to connect is a real one, to a port where nobody listens. Prints how
 * much memory was taken after ten minutes and after each day, after a collection.
 */
import { readFileSync } from 'node:fs';
import { settle } from '@skein/agent/node-settled.ts';
import { openSqliteOutbox } from '@skein/agent/outbox/sqlite-outbox.ts';
import { nativeSigner, nativeVerify, systemEntropy } from '@skein/agent/system-clock.ts';
import { createDrain } from '@skein/agent/uplink/drain.ts';
import { openMqttLink } from '@skein/agent/uplink/mqtt-link.ts';
import { brokerTls } from '@skein/agent/uplink/mqtt-tls.ts';
import { createPresence, statusMessage } from '@skein/agent/uplink/presence.ts';
import { RECONNECT } from '@skein/agent/uplink/reconnect.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { DriftRecord, HealthRecord } from '@skein/protocol/records.ts';
import { type Bytes, MIB, MINUTE, type Millis } from '@skein/protocol/units.ts';
import { predictionAt, START } from './made-batches.ts';

export interface OfflineSettings {
  /** Of its outbox. */
  path: string;
  days: number;
  /** Where nobody listens. */
  port: number;
  tls: { ca: string; certificate: string; key: string };
}

export interface OfflineResult {
  attempts: number;
  accepted: number;
  dropped: number;
  /** What a simulated 10 minutes leave: everything is loaded, and has run. */
  warm: Taken;
  /** After each day. */
  days: Taken[];
}

/** Of the process's memory. */
export interface Taken {
  rssBytes: Bytes;
  heapBytes: Bytes;
}

const { path, days, port, tls } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as OfflineSettings;
const MINUTES_A_DAY = 1_440;
const WARM_MINUTES = 10;

let mono = 0;
let tasks: { due: Millis; task: () => void }[] = [];
const clock: Clock = {
  now: () => START + mono,
  mono: () => mono,
  after(delayMs, task) {
    const entry = { due: mono + delayMs, task };
    tasks.push(entry);
    return { cancel: () => (tasks = tasks.filter((other) => other !== entry)) };
  },
};

const stamp = (minute: number) => ({
  ...{ ts: START + minute * MINUTE, mono: minute * MINUTE },
  boot: '0123456789abcdef',
});
const METRICS = 32;
const healthAt = (minute: number): HealthRecord => ({
  ...stamp(minute),
  metrics: Object.fromEntries(
    Array.from({ length: METRICS }, (_, i) => [`metric_${i}`, ((minute * 31 + i * 7919) % 10_007) / 10]),
  ),
});
const driftAt = (hour: number): DriftRecord => ({
  ...stamp(hour * 60),
  ...{ model: 'host', version: '1.0.0', profile: 'ab'.repeat(32), window: hour, n: 3600, verdict: 'calm' },
  charts: Array.from({ length: 8 }, (_, i) => ({
    ...{ name: `feature_${i}`, missing: 0, outside: 0, min: i, max: hour + i },
    counts: Array.from({ length: 10 }, (_, k) => 300 + ((hour * 17 + i * 5 + k * 29) % 120)),
  })),
});

let attempts = 0;
let trying = false;
let refused: () => void = () => {};
const info = (message: string) => {
  if (message !== 'broker not connected') return;
  attempts++;
  trying = false;
  refused();
};
const log = { info, warn() {}, error: (message: string) => process.stderr.write(`${message}\n`) };
const entropy = systemEntropy;
const who = { boot: '0123456789abcdef', agentVersion: '1' };

const outbox = openSqliteOutbox({
  ...{ path, fleet: 'home', device: 'd-00000', clock, entropy, reserveBytes: 0 },
  signer: nativeSigner(entropy.bytes(32)),
  // Small, so that what is given up at the cap is part of it.
  capBytes: { predictions: 8 * MIB, health: 4 * MIB, drift: MIB, events: MIB },
});
const url = `mqtts://127.0.0.1:${port}`;
const tlsNow = brokerTls(url, () => tls);
const link = openMqttLink({
  ...{ url, fleet: 'home', device: 'd-00000', clock, entropy, log, keepaliveMs: MINUTE },
  tls: () => {
    trying = true;
    return tlsNow();
  },
  reconnect: RECONNECT.lan,
  will: (session) => JSON.stringify(statusMessage(false, session, who)),
});
const drain = createDrain({
  ...{ link, outbox, device: 'd-00000', ackKeys: () => [], verify: nativeVerify, clock, entropy, log },
  batchIntervalMs: MINUTE,
  trouble: (error) => log.error(error.message),
});
const presence = createPresence({ ...who, link, hello: () => ({}) as never, log });

/** Runs what is due; a try to connect is waited for, as its end sets the next one. */
async function advance(toMs: Millis): Promise<void> {
  for (;;) {
    const next = tasks.filter(({ due }) => due <= toMs).sort((a, b) => a.due - b.due)[0];
    if (next === undefined) break;
    tasks = tasks.filter((other) => other !== next);
    mono = Math.max(mono, next.due);
    next.task();
    if (trying) await new Promise<void>((resolve) => (refused = resolve));
  }
  mono = toMs;
}

/** A collection leaves the freeing of buffers to a thread, which a second one waits for. */
const FREED_WITHIN_MS = 50;

async function memory(): Promise<Taken> {
  for (let i = 0; i < 2; i++) {
    globalThis.gc!();
    await new Promise((wake) => setTimeout(wake, FREED_WITHIN_MS));
  }
  const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage();
  return { rssBytes, heapBytes };
}

function record(minute: number): void {
  for (let i = 0; i < 60; i++) {
    const prediction = predictionAt(minute * 60 + i);
    outbox.append('predictions', prediction);
    presence.state({ ts: prediction.ts, score: prediction.score });
  }
  outbox.append('health', healthAt(minute));
  if (minute % 60 === 0) outbox.append('drift', driftAt(minute / 60));
  outbox.commit();
}

async function live(): Promise<OfflineResult> {
  const first = new Promise<void>((resolve) => (refused = resolve));
  link.start();
  drain.start();
  await first;
  settle();
  const taken: Taken[] = [];
  for (let minute = 1; minute <= days * MINUTES_A_DAY; minute++) {
    record(minute - 1);
    await advance(minute * MINUTE);
    if (minute === WARM_MINUTES || minute % MINUTES_A_DAY === 0) taken.push(await memory());
  }
  const sum = (what: 'accepted' | 'dropped') => outbox.ledger().reduce((all, each) => all + each[what], 0);
  const [warm, ...each] = taken as [Taken, ...Taken[]];
  return { attempts, accepted: sum('accepted'), dropped: sum('dropped'), warm, days: each };
}

/** Whoever asked for it is gone. */
process.stdin.on('end', () => process.exit(1)).resume();
process.stdout.write(`${JSON.stringify(await live())}\n`);
process.exit(0);
