/** One device that gets a real model: the agent's own update parts, with an order that is agreed already. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { updateStatus } from '@skein/agent/api/collect-status.ts';
import type { UpdateStatus } from '@skein/agent/api/status.ts';
import { openDownloads } from '@skein/agent/cli/open-downloads.ts';
import { parseConfig } from '@skein/agent/config/parse.ts';
import type { Tensors } from '@skein/agent/inference/backend.ts';
import { Engine } from '@skein/agent/inference/engine.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { childPreflight } from '@skein/agent/update/child-preflight.ts';
import { childReserve } from '@skein/agent/update/child-reserve.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import { OPEN } from '@skein/agent/update/gate.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import type { AgreedOrder, TrustedView } from '@skein/agent/update/ports.ts';
import { UpdateRunner } from '@skein/agent/update/run-update.ts';
import { openUpdateStore } from '@skein/agent/update/sqlite-update-store.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import { MIB } from '@skein/protocol/units.ts';
import { heavyModel, stage } from '../../staged-models.ts';
import type { Fleet } from './wire.ts';

const quiet = { info() {}, warn() {}, error() {} };
export const WIDTH = 1024;
const INPUT = { x: { type: 'float32' as const, dims: [1, WIDTH], data: new Float32Array(WIDTH).fill(1) } };

export interface Published {
  agreed: AgreedOrder;
  model: { sha256: string; size: number };
  /** All that a device fetches. */
  bytes: number;
}

/**
 * A model with golden vectors and manifest, as blobs in `directory`; it answers ones with ones.
 * @param model about so many times 4 MiB, or the model itself: from `x` to `y`, WIDTH numbers each
 */
export function publish(
  directory: string,
  model: number | Uint8Array,
  version = '1.0.0',
  order: Partial<Order> = {},
): Published {
  mkdirSync(directory, { recursive: true });
  const spec = (name: string) => ({ name, type: 'float32' as const, shape: [-1, WIDTH] });
  const bytes = typeof model === 'number' ? heavyModel(WIDTH, model, -1) : model;
  const { manifest } = stage(directory, bytes, {
    ...{ name: 'big', version, inputs: [spec('x')], outputs: [spec('y')] },
  });
  const flat = { shape: [1, WIDTH], data: Array.from(INPUT.x.data) };
  const golden = put(
    directory,
    JSON.stringify({ format: 1, vectors: [{ inputs: { x: flat }, outputs: { y: flat } }] }),
  );
  const variants = manifest.variants.map((variant) => ({ ...variant, tolerance: 1e-3 }));
  const signed = { ...manifest, golden, variants, needs: { memoryBytes: 256 * MIB, tags: [] } };
  const target = put(directory, JSON.stringify(signed));
  const { file } = variants[0]!;
  const given: Order = {
    ...{ id: `o-${version}`, rollout: 'r-bench', model: 'big', version, freshWithinMs: null },
    probation: { minInferences: 1, minMs: 0, deadlineMs: 60_000, maxErrorRate: 1, maxLatencyRatio: 1e6 },
    ...order,
  };
  return {
    agreed: {
      order: given,
      target: { path: manifestPath('big', version), sizeBytes: target.size, sha256: target.sha256 },
      custom: { model: 'big', version, release: 1, floor: 0, tags: [] },
    },
    model: file,
    bytes: file.size + golden.size + target.size,
  };
}

function put(directory: string, text: string) {
  const sha256 = createHash('sha256').update(text).digest('hex');
  writeFileSync(join(directory, sha256), text);
  return { sha256, size: Buffer.byteLength(text) };
}

export interface Device {
  /** What `skein-agent status` shows. */
  status(): UpdateStatus | undefined;
  /** All that was published of its updates, the latest last. */
  readonly messages: UpdateMessage[];
  readonly reports: UpdateReport[];
  /** The director's word from now on. */
  order(orders: AgreedOrder[]): Promise<void>;
  /** One inference on this value, repeated. */
  predict(value: number): Promise<Tensors>;
  /** Resolves with the report of how the order ended. */
  update(agreed: AgreedOrder): Promise<UpdateReport>;
  close(): Promise<void>;
}

export async function openDevice(
  directory: string,
  url: string,
  fleet: Fleet,
  update: object = {},
  /** What trust.db holds at the start. */
  known: AgreedOrder[] = [],
): Promise<Device> {
  const config = parseConfig({ name: 'bench', values: { update }, lineOf: () => 0 }, {});
  const clock = systemClock;
  const trust = () => ({ ca: fleet.ca, ...fleet.device });
  const fetcher = httpFetcher(url, trust, clock);
  const models = join(directory, 'models');
  const slots = await openDiskSlots({ directory: models, reserve: childReserve(quiet) });
  const shared = { clock, entropy: systemEntropy, log: quiet };
  const downloads = openDownloads(config, { fetcher, slots, gate: OPEN, trust, ...shared });
  const store = openUpdateStore(join(directory, 'update.db'));
  const engine = new Engine({ backend: new OnnxBackend({ placement: 'inline' }), clock });
  const messages: UpdateMessage[] = [];
  const reports: UpdateReport[] = [];
  let orders = known;
  let ended: (report: UpdateReport) => void = () => {};
  const view = (): TrustedView => ({
    ...{ directorVersion: 1, orders, refused: [], ackKeys: [], refreshedMono: clock.mono(), refreshedAt: 0 },
  });
  const runner = new UpdateRunner({
    ...shared,
    ...{ fetcher, slots, store, supply: downloads.supply, flights: downloads.flights },
    trust: { view, spokenAgainst: () => ({ barred: [], releaseFloors: {} }), refresh: async () => view() },
    preflight: childPreflight(),
    runtime: {
      activate: async (model) => {
        const loaded = await engine.activate(model);
        await engine.predict('big', INPUT);
        return loaded;
      },
      deactivate: (model) => engine.deactivate(model),
      stats: (model) => engine.stats(model),
    },
    reports: {
      report: (report) => {
        reports.push(report);
        if (['committed', 'refused', 'reverted', 'unproven', 'cancelled'].includes(report.outcome))
          ended(report);
      },
    },
    progress: (message) => messages.push(message),
  });
  await runner.start();
  return {
    ...{ messages, reports },
    async predict(value) {
      const x = { ...INPUT.x, data: new Float32Array(WIDTH).fill(value) };
      return (await engine.predict('big', { x })).outputs;
    },
    status: () => runner.states().map((state) => updateStatus(state))[0],
    order: (next) => {
      orders = next;
      return runner.refresh();
    },
    update: (agreed) =>
      new Promise((resolve) => {
        ended = resolve;
        orders = [agreed];
        void runner.refresh();
      }),
    async close() {
      await runner.stop();
      await engine.close();
      downloads.close();
      fetcher.close();
      store.close();
    },
  };
}
