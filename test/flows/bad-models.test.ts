/**
 * Models that are wrong, each in its own way, properly signed and rolled out: the device refuses or reverts each with
 * its own code and goes on with the last good one; a good version after them is taken as if nothing had been.
 */
import { join } from 'node:path';
import { type Bundle, goldenOf, hashOf, makeBundle } from '@skein/agent/model/bundle.ts';
import { readBundle, writeBundle } from '@skein/agent/model/disk-bundle.ts';
import {
  DATA_TYPE,
  floatTensor,
  floatValue,
  modelOf,
  type NodeProto,
  nodeOf,
  saveGraph,
  type TensorProto,
} from '@skein/agent/model/graph.ts';
import type { ItemOf } from '@skein/fleet-server/cli/client.ts';
import type { GoldenVectors } from '@skein/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentStatus, brokenAt, type Flow, openFlow, ROOT, runsOf, ServerFile, until } from './operator.ts';

const WIDTH = 155;
const utf8 = new TextEncoder();
let flow: Flow;
let file: ServerFile;
let host: Bundle;

beforeAll(async () => {
  flow = await openFlow('bad-models');
  file = new ServerFile(flow.stack.stateDir);
  host = await readBundle(join(ROOT, 'models/host/bundle'));
});
afterAll(async () => {
  file?.close();
  await flow?.close();
});

interface Changes {
  model?: Uint8Array;
  golden?: GoldenVectors;
}

/** The host bundle under another version with other parts, whole and consistent as `skein-model pack` leaves one. */
async function bundle(version: string, { model, golden }: Changes): Promise<string> {
  const { manifest, blobs } = host;
  const goldenBytes = golden ? utf8.encode(JSON.stringify(golden)) : blobs.get(manifest.golden.sha256)!;
  const kept = model ? [manifest.variants[0]!] : manifest.variants;
  const files = model ? [model] : kept.map((variant) => blobs.get(variant.file.sha256)!);
  const refOf = (bytes: Uint8Array) => ({ sha256: hashOf(bytes), size: bytes.length });
  const changed = {
    ...manifest,
    version,
    variants: kept.map((variant, i) => ({ ...variant, file: refOf(files[i]!) })),
    golden: refOf(goldenBytes),
  };
  const path = join(flow.folder, version);
  await writeBundle(makeBundle(changed, [...files, goldenBytes]), path);
  return path;
}

const graph = (node: NodeProto[], initializer: TensorProto[] = []): Uint8Array =>
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

const answering = (input: number, output: number): GoldenVectors => {
  const filled = (value: number) => ({ shape: [1, WIDTH], data: Array<number>(WIDTH).fill(value) });
  return {
    format: 1,
    vectors: [{ inputs: { window: filled(input) }, outputs: { reconstruction: filled(output) } }],
  };
};

function falsified(): GoldenVectors {
  const golden = structuredClone(goldenOf(host));
  golden.vectors.at(-1)!.outputs.reconstruction!.data[7]! += 1;
  return golden;
}

/** 0/0 whatever it is asked. */
const notANumber = () =>
  graph(
    [nodeOf('Mul', ['window', 'zero'], ['nothing']), nodeOf('Div', ['nothing', 'zero'], ['reconstruction'])],
    [floatTensor('zero', [1], Float32Array.of(0))],
  );

/** √x: its golden answers are right, and any reading below the mean is NaN. */
const root = () => graph([nodeOf('Sqrt', ['window'], ['reconstruction'])]);

/** Right and finite, after six hundred products with a matrix of 4 MiB: some 35 ms. */
const SIDE = 1024;
const STEPS = 600;
function slow(): Uint8Array {
  const steps = Array.from({ length: STEPS }, (_, i) => nodeOf('MatMul', [`x${i}`, 'square'], [`x${i + 1}`]));
  return graph(
    [
      nodeOf('MatMul', ['window', 'wide'], ['x0']),
      ...steps,
      nodeOf('MatMul', [`x${STEPS}`, 'narrow'], ['reconstruction']),
    ],
    [
      floatTensor('wide', [WIDTH, SIDE], new Float32Array(WIDTH * SIDE)),
      floatTensor('square', [SIDE, SIDE], new Float32Array(SIDE * SIDE)),
      floatTensor('narrow', [SIDE, WIDTH], new Float32Array(SIDE * WIDTH)),
    ],
  );
}

/** Folding its constants takes 16 GiB as soon as it is loaded. */
function greedy(): Uint8Array {
  const shape: TensorProto = {
    name: 'shape',
    dims: [2],
    dataType: DATA_TYPE.int64,
    rawData: new Uint8Array(BigInt64Array.of(65_536n, 65_536n).buffer),
  };
  return graph(
    [
      nodeOf('ConstantOfShape', ['shape'], ['huge']),
      nodeOf('ReduceSum', ['huge'], ['sum']),
      nodeOf('Mul', ['window', 'sum'], ['reconstruction']),
    ],
    [shape],
  );
}

/** A constant of 196 MiB, made when it is loaded and kept: preflight allows that, beside a model that works it is too much. */
function hungry(): Uint8Array {
  const long = 7_168n;
  const shapeOf = (name: string, ...dims: bigint[]): TensorProto => ({
    name,
    dims: [dims.length],
    dataType: DATA_TYPE.int64,
    rawData: new Uint8Array(BigInt64Array.from(dims).buffer),
  });
  return graph(
    [
      nodeOf('ConstantOfShape', ['square'], ['huge']),
      nodeOf('ReduceMean', ['window'], ['mean']),
      nodeOf('Expand', ['mean', 'row'], ['wide']),
      nodeOf('MatMul', ['wide', 'huge'], ['product']),
      nodeOf('ReduceMean', ['product'], ['zero']),
      nodeOf('Mul', ['window', 'zero'], ['reconstruction']),
    ],
    [shapeOf('square', long, long), shapeOf('row', 1n, long)],
  );
}

const truncated = () => host.blobs.get(host.manifest.variants[0]!.file.sha256)!.subarray(0, 9_000);

// The one of memory comes before what leaves room behind in the process.
// biome-ignore format: the table is read by its columns
const BAD: [string, string, 'refused' | 'reverted', string, () => Changes][] = [
  ['whose golden vectors are not its answers',  '2.0.1', 'refused',  'GOLDEN_MISMATCH',         () => ({ golden: falsified() })],
  ['that is cut short and can not be loaded',   '2.0.2', 'refused',  'MODEL_INVALID',           () => ({ model: truncated() })],
  ['that takes all memory when it is loaded',   '2.0.3', 'refused',  'MODEL_MEMORY',            () => ({ model: greedy() })],
  ['that takes far more memory than it needs',  '2.0.8', 'reverted', 'PROBATION_MEMORY',        () => ({ model: hungry(), golden: answering(1, 0) })],
  ['that answers NaN',                          '2.0.4', 'refused',  'MODEL_OUTPUT_NOT_FINITE', () => ({ model: notANumber() })],
  ['that answers NaN on real readings alone',   '2.0.5', 'reverted', 'MODEL_OUTPUT_NOT_FINITE', () => ({ model: root(), golden: answering(4, 2) })],
  ['that is far slower than the one before',    '2.0.6', 'reverted', 'PROBATION_SLOW',          () => ({ model: slow(), golden: answering(1, 0) })],
  ['of bytes that did harm here before',        '2.0.7', 'refused',  'MODEL_QUARANTINED',       () => ({ model: root(), golden: answering(9, 3) })],
];

const listed = async () => (await flow.operator.json<ItemOf<'listDevices'>[]>('devices', 'list'))[0]!;

describe('a rollout of a model', () => {
  it.each(BAD)('%s is halted (%s: %s with %s)', async (_, version, outcome, reason, changes) => {
    const path = await bundle(version, changes());
    const { id } = await flow.operator.rollOut(path, `host@${version}`, '--max-latency-ratio', '1');
    const view = await flow.ended(id);
    expect(view, JSON.stringify(view)).toMatchObject({
      state: 'halted',
      targets: [{ device: flow.device, state: 'failed', reason }],
    });
    expect(view.why).toContain(`1 failed (${reason}), 0 tolerated`);
    const { report } = file.reports(flow.device).findLast((each) => each.report.rollout === id)!;
    expect(report).toMatchObject({ outcome, reason, version });
    expect(report.detail).not.toBe('');
    const why = await flow.operator.skein('why', flow.device);
    expect(why.stdout).toContain(`(host@${version}, halted): refused or reverted the version (${reason})`);
    const shown = await until(listed, ({ model }) => model === 'host@1.0.0');
    await until(listed, ({ predictions }) => predictions > shown.predictions);
  });
});

describe('after all of them', () => {
  it('a good version is taken, and every reading is accounted for', async () => {
    const { id } = await flow.operator.rollOut(await bundle('2.1.0', {}), 'host@2.1.0');
    expect(await flow.ended(id)).toMatchObject({ state: 'done', counts: { committed: 1 } });
    await until(listed, ({ model }) => model === 'host@2.1.0');

    const { pipelines, ledger } = await agentStatus(flow.stack.stateDir);
    const { readings, predictions, failures } = pipelines[0]!;
    expect(readings - predictions - failures).toBeLessThanOrEqual(1);
    // The answers of 2.0.5 that were not numbers, before it was taken back.
    expect(failures).toBeGreaterThan(0);
    expect(failures).toBeLessThan(20);
    const { accepted } = ledger.find(({ stream }) => stream === 'predictions')!;
    const records = await until(
      () => file.records('predictions', flow.device),
      (all) => all.length >= accepted,
    );
    expect(brokenAt(records)).toBeUndefined();
    // 2.0.8 may be caught before its first reading.
    const versions = records.map(({ record }) => record.version).filter((version) => version !== '2.0.8');
    // What was refused never predicted; what answered NaN has no prediction; what was slow has, under its own name.
    expect(runsOf(versions)).toEqual(['1.0.0', '2.0.6', '1.0.0', '2.1.0']);
    expect(records.every(({ record }) => Number.isFinite(record.score))).toBe(true);
  });
});
