/**
 * Measures in a network namespace of its own (`bytes.ts` starts it so): a server and an enrolled device, then that device's
 * uplink by hand. Prints one JSON object.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '@skein/agent/config/parse.ts';
import type { Config } from '@skein/agent/config/schema.ts';
import { WindowMerger } from '@skein/agent/drift/merge-windows.ts';
import type { HelloMessage } from '@skein/protocol/messages.ts';
import type { DriftRecord } from '@skein/protocol/records.ts';
import { type Bytes, HOUR, type Millis, SECOND } from '@skein/protocol/units.ts';
import { stopDaemon } from '../../processes.ts';
import { type Stack, startStack } from '../../stack.ts';
import { type DeviceSide, openDeviceSide } from './device-side.ts';
import { DAY_SECONDS, driftWindows, healthAt, predictionAt } from './records.ts';
import { sparkplugNode } from './sparkplug.ts';
import { type Count, counted, openWire, pause } from './wire.ts';

const ANY_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };
const HELLO_WITHIN_MS: Millis = 60_000;
const PINGS = 3;

export interface Day {
  form: string;
  connect: Bytes;
  refresh: Bytes;
  /** Another refresh, another connection to the broker: with the session of the first. */
  poll: Bytes;
  reconnect: Bytes;
  ping: Bytes;
  /** Batches, acknowledgements and all beneath them, for what part of a day. */
  interval: Millis;
  health: Bytes;
  drift: Bytes;
  driftRecords: number;
  together: Bytes;
  predictions: Bytes;
  /** One `state`. */
  state: Bytes;
  packets: number;
  strangers: Bytes;
}

export interface Peers {
  json: Bytes;
  sparkplug: Bytes;
}

const configOf = (profile: string): Config =>
  parseConfig({ name: 'bench', values: { profile }, lineOf: () => 1 }, {});

interface Share {
  intervals: number;
  scale: number;
}

/** A metered day whole; of a LAN day one hour, for every hour is like another. */
const shareOf = ({ uplink }: Config): Share => {
  const intervals = (DAY_SECONDS * SECOND) / uplink.batchInterval;
  return intervals <= 100 ? { intervals, scale: 1 } : { intervals: HOUR / uplink.batchInterval, scale: 24 };
};

/** Records by the interval they end in. */
function driftBy(config: Config, intervals: number): DriftRecord[][] {
  const everyS = config.uplink.batchInterval / SECOND;
  const merger = new WindowMerger(config.uplink.driftInterval);
  const by: DriftRecord[][] = Array.from({ length: intervals }, () => []);
  for (const { second, window } of driftWindows(intervals * everyS))
    by[Math.floor(second / everyS)]!.push(...merger.take(window));
  return by;
}

function healthBy({ uplink, health }: Config, interval: number, rename?: (name: string) => string) {
  const [every, each] = [uplink.batchInterval / SECOND, health.interval / SECOND];
  return Array.from({ length: every / each }, (_, i) => healthAt(interval * every + i * each, rename));
}

async function measureDay(
  side: DeviceSide,
  config: Config,
): Promise<Omit<Day, 'connect' | 'refresh' | 'poll' | 'reconnect' | 'ping'>> {
  const { intervals, scale } = shareOf(config);
  const everyS = config.uplink.batchInterval / SECOND;
  const drift = driftBy(config, intervals);
  const total = { health: 0, drift: 0, together: 0, predictions: 0, strangers: 0, packets: 0 };
  const add = async (what: keyof typeof total, task: () => unknown): Promise<Count> => {
    const count = await counted(task);
    total[what] += count.bytes * scale;
    return count;
  };
  /** Intervals with health and nothing else. */
  const alone: Bytes[] = [];
  for (let i = 0; i < intervals; i++) {
    const health = healthBy(config, i);
    const both = { health, ...(drift[i]!.length > 0 ? { drift: drift[i]! } : {}) };
    const { bytes, packets } = await add('together', () => side.deliver(both));
    total.packets += packets * scale;
    if (drift[i]!.length === 0) alone.push(bytes);
  }
  // Apart: predictions, and what names that the dictionary does not know cost. Every fifth is enough; every fourth
  // would always be the same part of the recording, which lasts four of them.
  const some = Array.from({ length: Math.ceil(intervals / 5) }, (_, i) => i * 5);
  const share = intervals / some.length;
  for (const i of some) {
    const strange = healthBy(config, i, (name) => `plant_${name.split('').reverse().join('')}`);
    const strangers = await counted(() => side.deliver({ health: strange }));
    total.strangers += strangers.bytes * share * scale;
    const each = Array.from({ length: everyS }, (_, k) => predictionAt(i * everyS + k));
    const predictions = await counted(() => side.deliver({ predictions: each }));
    total.predictions += predictions.bytes * share * scale;
  }
  const usual = alone.reduce((sum, bytes) => sum + bytes, 0) / alone.length;
  total.health = usual * intervals * scale;
  total.drift = total.together - total.health;
  const states = 20;
  const state = await counted(async () => {
    for (let i = 0; i < states; i++) {
      const { ts, model, version, label, score } = predictionAt(i);
      side.state({
        ...{ ts, model, version, label, score, alarm: 0, latency_ms: 0.3 },
        ...healthAt(i).metrics,
      });
      await pause(50);
    }
  });
  return {
    ...total,
    form: side.form,
    interval: config.uplink.batchInterval,
    driftRecords: drift.flat().length * scale,
    state: state.bytes / states,
  };
}

/** The same health records as each peer sends them, a message a minute, over the same link. */
async function measurePeers(side: DeviceSide): Promise<Peers> {
  const minutes = 60;
  const scale = DAY_SECONDS / 60 / minutes;
  const send = (payloads: (string | Uint8Array)[]) => async () => {
    for (const payload of payloads) {
      await side.link.publish('result', payload);
      await pause(50);
    }
  };
  const records = Array.from({ length: minutes }, (_, i) => healthAt(i * 60));
  const node = sparkplugNode();
  const json = await counted(send(records.map((record) => JSON.stringify(record))));
  const sparkplug = await counted(send(records.map(({ ts, metrics }) => node(ts, metrics))));
  return { json: json.bytes * scale, sparkplug: sparkplug.bytes * scale };
}

async function measureProfile(
  stateDir: string,
  profile: string,
  hello: HelloMessage,
): Promise<Day & { peers: Peers }> {
  const config = configOf(profile);
  const side = openDeviceSide(stateDir, config, { ...hello, profile: config.profile });
  const connect = await counted(() => side.connect());
  const refresh = await counted(() => side.refresh());
  const poll = await counted(() => side.refresh());
  const reconnect = await counted(() => side.reconnect());
  const day = await measureDay(side, config);
  const peers = await measurePeers(side);
  const goodbye = await counted(() => side.close());
  const pinging = openDeviceSide(stateDir, config, hello, SECOND);
  await pinging.connect();
  const pings = await counted(() => pause(PINGS * SECOND));
  await pinging.close();
  return {
    ...day,
    connect: connect.bytes + goodbye.bytes,
    refresh: refresh.bytes,
    poll: poll.bytes,
    reconnect: reconnect.bytes,
    ping: pings.bytes / PINGS,
    peers,
  };
}

async function helloOf({ api }: Stack): Promise<HelloMessage> {
  const end = performance.now() + HELLO_WITHIN_MS;
  for (;;) {
    const [device] = (await api.call('listDevices', { query: {} })).items;
    const hello = device && (await api.call('showDevice', { params: { id: device.id } })).hello;
    if (hello && hello.models.length > 0) return hello;
    if (performance.now() > end) throw new Error('the agent did not say hello');
    await pause(500);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'skein-bytes-'));
try {
  await openWire();
  const agentDir = join(folder, 'agent');
  mkdirSync(agentDir, { mode: 0o700 });
  writeFileSync(join(agentDir, 'agent.yaml'), 'health: { interval: 1h }\n');
  const stack = await startStack({ stateDir: folder, ports: ANY_PORTS });
  try {
    const hello = await helloOf(stack);
    await stopDaemon(stack.agent);
    const metered = await measureProfile(agentDir, 'metered', hello);
    const lan = await measureProfile(agentDir, 'lan', hello);
    process.stdout.write(`${JSON.stringify({ metered, lan })}\n`);
  } finally {
    await stack.stop();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
