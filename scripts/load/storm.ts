/**
 * The load of `bench storm`, a process of its own: `storm.ts SETTINGS.json`. Backlogs are sealed first, then all devices
 * come at once, {@link AT_ONCE} handshakes at a time; each stays connected when its backlog is acknowledged. Prints the result.
 */
import { readFileSync } from 'node:fs';
import { nativeVerify } from '@skein/fleet-server/system-clock.ts';
import { type DeviceLine, openLine } from './device-line.ts';
import { FLEET, type FleetState, reportSigner } from './fleet-state.ts';
import { batchesOf } from './made-batches.ts';

export interface StormSettings {
  state: FleetState;
  port: number;
  /** Batches of each device. */
  backlog: number;
}

export interface StormResult {
  acknowledged: number;
  /** From the first connection to the last acknowledgement. */
  seconds: number;
}

const AT_ONCE = 128;

const { state, port, backlog } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as StormSettings;
const waiting = Object.keys(state.certificates).map((device) => {
  const next = batchesOf(FLEET, device, reportSigner(device), '00000000000000bb');
  return { device, batches: Array.from({ length: backlog }, next) };
});
let acknowledged = 0;
const failed = (error: Error): never => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
};
const lines: DeviceLine[] = [];
const sent: Promise<void>[] = [];

async function connectInTurn(): Promise<void> {
  for (let one = waiting.shift(); one; one = waiting.shift()) {
    const { device, batches } = one;
    const tls = { ca: state.ca, cert: state.certificates[device]!, key: state.key };
    const about = { fleet: FLEET, device, port, tls, ackKey: state.ackKey, verify: nativeVerify };
    const line = await openLine({
      ...about,
      answerBy: 'signed-ack',
      failed,
      answered: () => void acknowledged++,
    });
    lines.push(line);
    sent.push(line.send(batches));
  }
}

const began = performance.now();
await Promise.all(Array.from({ length: AT_ONCE }, connectInTurn));
await Promise.all(sent);
const result: StormResult = { acknowledged, seconds: (performance.now() - began) / 1000 };
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
