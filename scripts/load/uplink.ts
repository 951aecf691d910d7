/**
 * The load of `bench ingest`, a process of its own: `uplink.ts SETTINGS.json`. It seals all batches first, connects
 * every device to each target, then prints `{"ready":true}` and waits for lines on standard input:
 * `{"target":"skein","count":32}` sends so many batches from each device and prints what came of it.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { type AnswerBy, type DeviceLine, openLine } from './device-line.ts';
import { FLEET, type FleetState, reportSigner } from './fleet-state.ts';
import { batchesOf, type MadeBatch } from './made-batches.ts';

export interface UplinkSettings {
  state: FleetState;
  /** Each device sends at most so many batches to a target in this life. */
  batches: number;
  targets: { name: string; port: number; answerBy: AnswerBy }[];
}

export interface UplinkOrder {
  target: string;
  count: number;
}

export interface UplinkResult {
  batches: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
  /** Processor time of this process. */
  cpuSeconds: number;
}

const settings = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as UplinkSettings;
const { state, targets } = settings;
const devices = Object.keys(state.certificates);
const say = (message: object) => void process.stdout.write(`${JSON.stringify(message)}\n`);
const failed = (error: Error): never => {
  say({ error: error.message });
  process.exit(1);
};

const sealed = new Map(
  devices.map((device): [string, MadeBatch[]] => {
    const next = batchesOf(FLEET, device, reportSigner(device), '00000000000000aa');
    return [device, Array.from({ length: settings.batches }, next)];
  }),
);
let times: number[] = [];
const lines = new Map<string, { device: string; line: DeviceLine; sent: number }[]>();
for (const { name, port, answerBy } of targets) {
  const opened = devices.map(async (device) => {
    const tls = { ca: state.ca, cert: state.certificates[device]!, key: state.key };
    const about = { fleet: FLEET, device, port, tls, ackKey: state.ackKey, verify: nativeVerify, answerBy };
    const line = await openLine({ ...about, failed, answered: (ms) => void times.push(ms) });
    return { device, line, sent: 0 };
  });
  lines.set(name, await Promise.all(opened));
}

async function send({ target, count }: UplinkOrder): Promise<UplinkResult> {
  times = [];
  const cpu = process.cpuUsage();
  const began = performance.now();
  await Promise.all(
    lines.get(target)!.map((each) => {
      const batches = sealed.get(each.device)!.slice(each.sent, each.sent + count);
      each.sent += count;
      return each.line.send(batches);
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)]!;
  return {
    batches: times.length,
    seconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    cpuSeconds: (user + system) / 1e6,
  };
}

say({ ready: true });
for await (const text of createInterface({ input: process.stdin })) {
  say(await send(JSON.parse(text) as UplinkOrder));
}
process.exit(0);
