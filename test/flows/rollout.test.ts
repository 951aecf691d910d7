/**
 * A rollout's whole way through real processes: bundles published with offline keys, rollouts started on the command
 * line, a server and an agent that fetch, verify, try, swap, watch and report. One sound version and four that are
 * not, each wrong in its own way; the device ends up on the last good one every time.
 */
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GoldenVectors, Manifest } from '@skein/protocol/manifest.ts';
import type { RolloutView } from '@skein/protocol/rollout.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  DATA_TYPE,
  type floatTensor,
  floatValue,
  modelOf,
  nodeOf,
  saveGraph,
} from '../../agent/src/model/graph.ts';
import { runToEnd } from '../../scripts/processes.ts';
import { type Stack, startStack } from '../../scripts/stack.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SKEIN = join(ROOT, 'fleet-server', 'src', 'cli', 'skein.ts');
const HOST_BUNDLE = join(ROOT, 'models', 'host', 'bundle');
const FREE_PORTS = { http: 0, device: 0, mqtts: 0, mqtt: 0, agent: 0 };

let folder: string;
let stack: Stack;
let device: string;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const skein = (...args: string[]) =>
  runToEnd([SKEIN, ...args], { ...process.env, SKEIN_STATE_DIR: stack.stateDir });

interface Changes {
  model?: Uint8Array;
  golden?: (golden: GoldenVectors) => GoldenVectors;
}

/** The committed bundle under another version, with another model file or other golden vectors. */
function bundle(version: string, { model, golden }: Changes = {}): string {
  const path = join(folder, version);
  cpSync(HOST_BUNDLE, path, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')) as Manifest;
  const put = (bytes: Uint8Array) => {
    writeFileSync(join(path, 'blobs', sha256(bytes)), bytes);
    return { sha256: sha256(bytes), size: bytes.length };
  };
  manifest.version = version;
  if (model) manifest.variants = [{ ...manifest.variants[0]!, file: put(model) }];
  if (golden) {
    const vectors = JSON.parse(
      readFileSync(join(path, 'blobs', manifest.golden.sha256), 'utf8'),
    ) as GoldenVectors;
    manifest.golden = put(Buffer.from(JSON.stringify(golden(vectors))));
  }
  writeFileSync(join(path, 'manifest.json'), JSON.stringify(manifest));
  return path;
}

const WIDTH = 155;
const graphOf = (node: ReturnType<typeof nodeOf>[], initializer: ReturnType<typeof floatTensor>[] = []) =>
  saveGraph(
    modelOf({
      name: 'made',
      node,
      initializer,
      input: [floatValue('window', [-1, WIDTH])],
      output: [floatValue('reconstruction', [-1, WIDTH])],
      valueInfo: [],
    }),
  );

/** Finite where its golden vectors are, NaN for any negative input: real readings have some. */
const rootModel = (): Uint8Array => graphOf([nodeOf('Sqrt', ['window'], ['reconstruction'])]);
const rootGolden = (): GoldenVectors => {
  const vector = (fill: number) => ({ shape: [1, WIDTH], data: Array.from({ length: WIDTH }, () => fill) });
  return { format: 1, vectors: [{ inputs: { window: vector(4) }, outputs: { reconstruction: vector(2) } }] };
};

/** Asks for 16 GB as soon as it is loaded: folding constants makes the tensor. */
const greedyModel = (): Uint8Array =>
  graphOf(
    [
      nodeOf('ConstantOfShape', ['shape'], ['huge']),
      nodeOf('ReduceSum', ['huge'], ['sum']),
      nodeOf('Mul', ['window', 'sum'], ['reconstruction']),
    ],
    [
      {
        name: 'shape',
        dims: [2],
        dataType: DATA_TYPE.int64,
        rawData: new Uint8Array(BigInt64Array.of(65_536n, 65_536n).buffer),
      } as ReturnType<typeof floatTensor>,
    ],
  );

/** Publishes the bundle, rolls it out to everyone and waits for the end. */
async function rollOut(path: string, version: string): Promise<RolloutView> {
  await skein('models', 'publish', path);
  const made = await skein(
    ...['rollouts', 'create', '--model', `host@${version}`, '--stages', '100%', '--soak', '0s', '--yes'],
    ...['--probation-inferences', '5', '--probation-time', '2s', '--deadline', '2m', '-o', 'json'],
  );
  const { id } = JSON.parse(made) as RolloutView;
  await eventually(async () => ['done', 'halted', 'held'].includes((await show(id)).state));
  return show(id);
}

/** Looks again at everything that the server tells, until it is so. */
async function eventually(holds: () => Promise<boolean>, withinMs = 120_000): Promise<void> {
  const patience = AbortSignal.timeout(withinMs);
  if (await holds()) return;
  for await (const _ of stack.api.events(patience)) if (await holds()) return;
  throw new Error('it did not come to that in time');
}

const show = (id: string): Promise<RolloutView> => stack.api.call('showRollout', { params: { id } });
const running = async (): Promise<string | null> => {
  return (await stack.api.call('showDevice', { params: { id: device } })).model;
};

/** What the device says it runs follows its report by a moment. */
const runs = (model: string): Promise<void> => eventually(async () => (await running()) === model, 30_000);
const stored = async (): Promise<number> => {
  return (await stack.api.call('showDevice', { params: { id: device } })).predictions;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'skein-rollout-'));
  mkdirSync(join(folder, 'state'));
  stack = await startStack({ stateDir: join(folder, 'state'), ports: FREE_PORTS });
  const first = (await stack.api.call('listRollouts')).items[0]!;
  device = first.targets[0]!.device;
  await eventually(async () => (await show(first.id)).state === 'done');
});

afterAll(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('a rollout through real processes', () => {
  it('of a sound version ends with proof from the device', async () => {
    const view = await rollOut(bundle('1.0.1'), '1.0.1');
    expect(view).toMatchObject({
      state: 'done',
      counts: { committed: 1 },
      why: 'done: 1 of 1 device proved it',
    });
    await runs('host@1.0.1');
    const why = await skein('why', device);
    expect(why).toContain('proved the version');
  });

  it.each([
    ['whose golden vectors fail', '1.1.1', 'GOLDEN_MISMATCH', () => ({ golden: falsified })],
    ['that is no model', '1.1.2', 'MODEL_INVALID', () => ({ model: Buffer.from('not a model') })],
    ['that takes all memory when it loads', '1.1.3', 'MODEL_MEMORY', () => ({ model: greedyModel() })],
    [
      'that turns NaN on real readings',
      '1.1.4',
      'MODEL_OUTPUT_NOT_FINITE',
      () => ({ model: rootModel(), golden: rootGolden }),
    ],
  ])('of one %s is halted, and the device runs the last good one', async (_, version, reason, changes) => {
    const view = await rollOut(bundle(version, changes()), version);
    expect(view.state).toBe('halted');
    expect(view.targets).toMatchObject([{ device, state: 'failed', reason }]);
    expect(view.why).toContain(reason);
    await runs('host@1.0.1');
  });

  it('leaves a device that still predicts, on the last good one', async () => {
    const before = await stored();
    await eventually(async () => (await stored()) > before + 2, 30_000);
    expect(await running()).toBe('host@1.0.1');
  });
});

function falsified(golden: GoldenVectors): GoldenVectors {
  const [first, ...rest] = golden.vectors;
  const { shape, data } = first!.outputs.reconstruction!;
  const other = data.map((value) => value + 1);
  return {
    ...golden,
    vectors: [{ ...first!, outputs: { reconstruction: { shape, data: other } } }, ...rest],
  };
}
