/**
 * A model that does harm on real readings alone, taken back by the device itself with no network: from its first answer that
 * is no number to the first good one of the model before, and what happened to every reading meanwhile. The model before
 * is 16 MiB, and the trial is looked at as rarely as any. Readings come every 5 ms, each awaited by itself.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { floatValue, modelOf, nodeOf, saveGraph } from '@skein/agent/model/graph.ts';
import { type Device, openDevice, publish, WIDTH } from './download/device.ts';
import { newFleet, Origin } from './download/fleet.ts';
import type { Emit } from './measurement.ts';

const ROUNDS = 3;
const LAYERS = 4;
const EVERY_MS = 5;
const BAR_MS = 2_000;
/** Right on ones, which is what its golden vectors ask, and no number below zero. */
const READING = -1;
/** As long and as rarely judged as probation may be. */
const PATIENT = {
  probation: {
    minInferences: 20,
    minMs: 600_000,
    deadlineMs: 3_600_000,
    maxErrorRate: 0.01,
    maxLatencyRatio: 1e6,
  },
};

const root = () =>
  saveGraph(
    modelOf({
      name: 'root',
      node: [nodeOf('Sqrt', ['x'], ['y'])],
      initializer: [],
      input: [floatValue('x', [-1, WIDTH])],
      output: [floatValue('y', [-1, WIDTH])],
      valueInfo: [],
    }),
  );

interface Watched {
  asked: number;
  answered: number;
  /** From the first bad answer to the first good one after it. */
  harmMs: number;
}

/** Readings until `ended`, and one more. */
async function watch(device: Device, ended: Promise<unknown>): Promise<Watched> {
  const seen = { asked: 0, answered: 0, harmMs: 0 };
  let harmed: number | undefined;
  let over = false;
  void ended.then(() => {
    over = true;
  });
  for (let last = false; !last; ) {
    last = over;
    seen.asked++;
    const { y } = await device.predict(READING);
    seen.answered++;
    const good = Number.isFinite(y!.data[0]);
    if (!good) harmed ??= performance.now();
    else if (harmed !== undefined) {
      seen.harmMs += performance.now() - harmed;
      harmed = undefined;
    }
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
  }
  if (harmed !== undefined) throw new Error('the model that did harm still runs');
  return seen;
}

async function round(folder: string): Promise<Watched> {
  const fleet = await newFleet(join(folder, 'ca'));
  const blobs = join(folder, 'blobs');
  const good = publish(blobs, LAYERS, '1.0.0');
  const bad = publish(blobs, root(), '1.1.0', PATIENT);
  const origin = await Origin.start({ fleet, directory: blobs });
  const device = await openDevice(join(folder, 'device'), origin.url, fleet);
  try {
    await device.update(good.agreed);
    const reverted = device.update(bad.agreed);
    const offline = (async () => {
      while (device.status()?.phase !== 'probation') await new Promise((wake) => setTimeout(wake, 1));
      origin.stop();
    })();
    const seen = await watch(device, reverted);
    await offline;
    const { outcome, reason } = await reverted;
    if (outcome !== 'reverted') throw new Error(`the order ended as ${outcome}, ${reason}`);
    return seen;
  } finally {
    await device.close();
  }
}

export async function run(emit: Emit): Promise<void> {
  const rounds: Watched[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const folder = mkdtempSync(join(tmpdir(), 'skein-revert-'));
    try {
      rounds.push(await round(folder));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const worst = Math.max(...rounds.map(({ harmMs }) => harmMs));
  const lost = rounds.reduce((sum, { asked, answered }) => sum + asked - answered, 0);
  const said = (metric: string, value: number, unit: string, bar: string, holds: boolean) =>
    emit({ bench: 'revert', metric, value, unit, bar, holds });
  said('offline, first bad answer to first good one, worst', worst, 'ms', `≤ ${BAR_MS} ms`, worst <= BAR_MS);
  said('readings without an answer meanwhile', lost, 'readings', '0', lost === 0);
}
