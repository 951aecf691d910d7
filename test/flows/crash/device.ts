/** A device's whole update with the agent's own parts on a real disk, from metadata to commit; made to be killed. */
import { join } from 'node:path';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { nativeVerify, systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { installedIn } from '@skein/agent/update/barred.ts';
import { childPreflight } from '@skein/agent/update/child-preflight.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import { SqliteTrustStore } from '@skein/agent/update/sqlite-trust.ts';
import { openOrReplaceUpdateStore } from '@skein/agent/update/sqlite-update-store.ts';
import { TrustClient } from '@skein/agent/update/trust-client.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import type { Fleet } from '../../../scripts/bench/download/wire.ts';
import { DEVICE } from '../../protocol/trust/simulated-repository.ts';
import { MODEL, WIDTH } from './publisher.ts';

export interface DeviceStart {
  directory: string;
  url: string;
  fleet: Pick<Fleet, 'ca' | 'device'>;
  /** It ends when this version is committed. */
  until: string;
  /** Breaks it on purpose: trust is written down only when the model is installed. */
  lateTrust?: boolean;
  /** It gives up after this long; absent: it is for others to end it. */
  withinMs?: number;
}

/** Each load as it happened, oldest first: the hash is of the bytes that the runtime took. */
export interface Life {
  loads: { version: string; loaded: string }[];
  outcomes: string[];
  committed: string | null;
  /** The version that ran before it asked anyone. */
  booted: string | null;
  /** What it complained of. */
  said: string[];
}

export const unborn = (): Life => ({ loads: [], outcomes: [], committed: null, booted: null, said: [] });
const TICK_MS = 10;
/** The waits of the update machine are cut short: what is asked here is not how long it waits. */
const hasty = {
  ...systemClock,
  after: (delayMs: number, task: () => void) => systemClock.after(Math.min(delayMs, TICK_MS), task),
};
const INPUT = { x: { type: 'float32' as const, dims: [1, WIDTH], data: new Float32Array(WIDTH).fill(1) } };

/** @param told after each load and report, and at the end. @throws what keeps it from starting */
export async function liveUntil(start: DeviceStart, told: (life: Life) => void = () => {}): Promise<Life> {
  const { directory, url, fleet, until, withinMs = Number.POSITIVE_INFINITY } = start;
  const life = unborn();
  const opened: { close(): unknown }[] = [];
  const open = <T extends { close(): unknown }>(one: T): T => {
    opened.push(one);
    return one;
  };
  const say = (text: string, data: object = {}) => void life.said.push(`${text} ${JSON.stringify(data)}`);
  const log = { info() {}, warn: say, error: say };
  try {
    const trustStore = open(new SqliteTrustStore(join(directory, 'trust.db')));
    const store = open(openOrReplaceUpdateStore(join(directory, 'update.db'), log));
    const fetcher = open(httpFetcher(url, () => ({ ca: fleet.ca, ...fleet.device }), systemClock));
    const engine = open(
      new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock: systemClock }),
    );
    const runner: UpdateRunner = new UpdateRunner({
      ...{ fetcher, store, clock: hasty, entropy: systemEntropy, log },
      slots: await openDiskSlots({ directory: join(directory, 'models') }),
      trust: new TrustClient({
        ...{ fetcher, clock: systemClock, device: DEVICE, hardwareTags: [] },
        store: start.lateTrust ? late(trustStore, () => committedOf(runner) === until) : trustStore,
        keys: ed25519Keys(nativeVerify),
        installed: () => installedIn(store),
      }),
      preflight: childPreflight(),
      runtime: {
        activate: async (model) => {
          const loaded = await engine.activate(model);
          life.loads.push({ version: model.manifest.version, loaded: loaded.loaded });
          told(life);
          await engine.predict(MODEL, INPUT);
          return loaded;
        },
        deactivate: (model) => engine.deactivate(model),
        stats: (model) => engine.stats(model),
      },
      reports: {
        report: ({ outcome }) => {
          life.outcomes.push(outcome);
          told(life);
        },
      },
    });
    await runner.start();
    life.booted = runner.active(MODEL)?.version ?? null;
    void runner.refresh();
    // It says what it needs, and nothing more will come.
    const isLost = () => life.said.some((text) => text.includes('NOT_ENROLLED'));
    const isDone = () =>
      committedOf(runner) === until &&
      runner.states()[0]!.phase.name === 'idle' &&
      runner.active(MODEL)?.version === until;
    const endsAt = performance.now() + withinMs;
    while (!isDone() && !isLost() && performance.now() < endsAt)
      await new Promise((next) => setTimeout(next, TICK_MS));
    if (isDone()) await runner.prune();
    await runner.stop();
    life.committed = committedOf(runner);
  } finally {
    for (const one of opened.reverse()) await one.close();
  }
  told(life);
  return life;
}

const committedOf = (runner: UpdateRunner): string | null => runner.states()[0]?.committed?.version ?? null;

/** A store that forgets until `ready`: what a device would be whose trust is committed after the install. */
function late(store: SqliteTrustStore, ready: () => boolean) {
  return {
    load: () => store.load(),
    pin: () => {},
    judged: () => store.judged(),
    commit: (state: Parameters<SqliteTrustStore['commit']>[0]) => void (ready() && store.commit(state)),
  };
}
