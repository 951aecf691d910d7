import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Manifest } from '@skein/protocol/manifest.ts';
import { Type } from 'typebox';
import { Value } from 'typebox/value';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalApi, openLocalApi } from '../../../agent/src/api/http-local-api.ts';
import type { AgentStatus } from '../../../agent/src/api/status.ts';
import type { Tensors } from '../../../agent/src/inference/backend.ts';
import type { CurrentModel } from '../../../agent/src/inference/engine.ts';
import { ModelStatistics } from '../../../agent/src/inference/statistics.ts';
import { checkInputs } from '../../../agent/src/inference/tensors.ts';
import { parseExposition } from './exposition.ts';

const manifest = {
  format: 1,
  name: 'sum',
  version: '1.2.0',
  preprocess: {
    kind: 'features',
    features: ['a', 'b'],
    scaling: { offset: [1, 1], scale: [2, 2], clip: 10 },
    window: { size: 3, stride: 1, padding: 'none' },
    onMissing: 'reject',
  },
  postprocess: { kind: 'regress', output: 'y', low: null, high: 5 },
  inputs: [{ name: 'x', type: 'float32', shape: [-1, 6] }],
  outputs: [{ name: 'y', type: 'float32', shape: [1] }],
} as unknown as Manifest;
const current = {
  manifest,
  manifestSha256: 'a'.repeat(64),
  variant: { id: 'fp32', backend: 'onnxruntime', tolerance: 0 },
  loaded: {
    inputs: manifest.inputs,
    outputs: manifest.outputs,
    proof: 'runtime',
    provider: 'cpu',
    placement: 'inline',
    reason: 'tiny',
  },
} as unknown as CurrentModel;

/** A model that adds: enough to see that tensors arrive and answers leave. */
const predict = async (_model: string, inputs: Tensors) => {
  checkInputs(inputs, manifest.inputs);
  const sum = (inputs.x!.data as Float32Array).reduce((total, value) => total + value, 0);
  const y = { type: 'float32', dims: [1], data: Float32Array.of(sum) } as const;
  return { outputs: { y }, version: '1.2.0' };
};

const status = (ok: boolean): AgentStatus => ({
  device: 'd-one',
  fleet: 'home',
  agentVersion: '0.1.0',
  boot: 'b',
  ts: 1,
  uptimeMs: 61_000,
  profile: 'lan',
  connected: true,
  sources: [],
  sinks: [
    { name: 'home', kind: 'mqtt', queued: 3, delivered: 9, dropped: 2, failed: 1, problem: 'not connected' },
  ],
  models: [
    {
      name: 'sum',
      version: '1.2.0',
      sha256: 'b'.repeat(64),
      variant: 'fp32',
      placement: 'inline',
      provider: 'cpu',
      reason: 'tiny',
      stats: { inferences: 7, errors: 1, notFinite: 0, p95LatencyUs: 250, p95AtLeastUs: 200 },
      proof: 'runtime',
      selfCheck: { ok, detail: ok ? 'golden answers' : 'output `y` differs by 3', at: 1 },
    },
  ],
  pipelines: [
    {
      source: 'odd "name"\\',
      model: 'sum',
      readings: 9,
      predictions: 7,
      notFinite: 1,
      outputsNotFinite: 0,
      picturesInvalid: 2,
      dropped: 3,
      failures: 1,
      latencyUs: 1400,
    },
  ],
  updates: [],
  trust: null,
  ledger: [
    {
      stream: 'predictions',
      epoch: 'e',
      observed: 9,
      accepted: 7,
      stored: 5,
      pending: 2,
      dropped: 0,
      lostAtServer: 0,
      unknown: 0,
      droppedRanges: [],
      lostRanges: [],
      unknownRanges: [],
      oldestPendingAt: 1,
      pendingBytes: 120,
      waiting: 0,
      refused: 0,
    },
  ],
  lossWindowMs: 10_000,
  atRest: null,
  incidents: [],
  health: { cpu: 0.25 },
  shadows: [],
});

const statistics = new ModelStatistics();
for (let i = 0; i < 7; i++)
  statistics.requestSucceeded({ queueUs: 1, inputUs: 1, inferUs: 1, outputUs: 1, totalUs: 4 }, 1, 1);

let api: LocalApi;
let ready = true;
beforeAll(async () => {
  const models = {
    version: '0.1.0',
    ready: () => ready,
    all: () => [current],
    current: (name: string) => (name === 'sum' ? current : undefined),
    statistics: () => ({ ...statistics.snapshot(), pending: 0, inputsNotFinite: 0 }),
    modelReady: () => ready,
    predict,
  };
  api = await openLocalApi({ models, status: () => status(ready) }, { host: '127.0.0.1', port: 0 });
});
afterAll(() => api.close());

const get = async (path: string) => {
  const response = await fetch(api.url + path);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
const post = async (path: string, body: unknown) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(api.url + path, { method: 'POST', body: text });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};
const infer = (input: object) =>
  post('/v2/models/sum/infer', { inputs: [{ name: 'x', shape: [1, 6], datatype: 'FP32', ...input }] });

/** inference_rest.md and open_inference_rest.yaml of the protocol, version 2.0. */
const Tensor = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer()),
});
const ServerMetadata = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String()),
});
const ModelMetadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String()),
  platform: Type.String(),
  inputs: Type.Array(Tensor),
  outputs: Type.Array(Tensor),
});
const InferenceResponse = Type.Object({
  model_name: Type.String(),
  model_version: Type.String(),
  id: Type.String(),
  outputs: Type.Array(Type.Intersect([Tensor, Type.Object({ data: Type.Array(Type.Number()) })])),
});
const ErrorResponse = Type.Object({ error: Type.String() });

describe('the Open Inference Protocol', () => {
  it('names the server and the model with its tensors', async () => {
    expect((await get('/v2')).body).toMatchObject({
      name: 'skein-agent',
      version: '0.1.0',
      extensions: expect.arrayContaining(['binary_tensor_data', 'statistics']),
    });
    expect((await get('/v2/models/sum/versions/1.2.0')).body).toEqual({
      name: 'sum',
      versions: ['1.2.0'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 6] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [1] }],
    });
  });

  it('infers on flat and on nested data and echoes the id', async () => {
    expect((await infer({ data: [1, 2, 3, 4, 5, 6] })).body).toEqual({
      model_name: 'sum',
      model_version: '1.2.0',
      outputs: [{ name: 'y', datatype: 'FP32', shape: [1], data: [21] }],
    });
    const nested = { name: 'x', shape: [2, 6], datatype: 'FP32', data: [Array(6).fill(1), Array(6).fill(2)] };
    const answer = await post('/v2/models/sum/infer', {
      id: 'q1',
      inputs: [nested],
      outputs: [{ name: 'y' }],
    });
    expect(answer.body).toMatchObject({ id: 'q1', outputs: [{ data: [18] }] });
  });

  it.each([
    [{ data: [1, 2] }, /`x` has 2 values, shape \[1, 6\] needs 6/],
    [{ shape: [1, 5], data: [1, 2, 3, 4, 5] }, /`x` has shape \[1, 5\], the model takes \[\?, 6\]/],
    [{ datatype: 'INT8', data: [1, 2, 3, 4, 5, 6] }, /`x` is INT8, the model takes FP32/],
    [{ name: 'z', data: [1] }, /no input `z`; it takes x/],
    [{ data: [1, 2, 3, 4, 5, null] }, /`x`\[5\] is null, not a finite number/],
    [
      {
        data: [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      },
      /data is \[3, 2\], shape says \[1, 6\]/,
    ],
    [{ shape: 'wide', data: [1] }, /`shape` is not a list of sizes/],
    [{ data: 'all' }, /`data` is not an array/],
  ])('refuses a wrong tensor by name, expected and found: %j', async (input, message) => {
    const { status: code, body } = await infer(input);
    expect(code).toBe(400);
    expect(body.error).toMatch(message);
  });

  it('answers 404 for a model or version that does not run, 405 for a wrong method, 400 for no JSON', async () => {
    expect((await get('/v2/models/none')).status).toBe(404);
    expect((await get('/v2/models/sum/versions/9.9.9')).body.error).toMatch(/runs version 1.2.0, not 9.9.9/);
    expect((await post('/v2/models/sum', {})).status).toBe(405);
    expect((await post('/v2/models/sum/infer', '{')).body.error).toMatch(/not JSON/);
    expect((await post('/v2/models/sum/infer', {})).body.error).toMatch(/no `inputs` array/);
    expect((await get('/elsewhere')).status).toBe(404);
  });

  it('gives answers of the shapes that the protocol publishes', async () => {
    const body = {
      id: '42',
      inputs: [{ name: 'x', shape: [1, 6], datatype: 'FP32', data: [1, 2, 3, 4, 5, 6] }],
    };
    const said = [
      [ServerMetadata, await get('/v2')],
      [ModelMetadata, await get('/v2/models/sum/versions/1.2.0')],
      [InferenceResponse, await post('/v2/models/sum/versions/1.2.0/infer', body)],
      [ErrorResponse, await post('/v2/models/sum/infer', {})],
      [ErrorResponse, await get('/v2/models/none')],
    ] as const;
    for (const [schema, answer] of said) expect([...Value.Errors(schema, answer.body)]).toEqual([]);
  });

  it('cuts off a body beyond 16 MiB', async () => {
    expect((await post('/v2/models/sum/infer', 'x'.repeat(17 << 20))).status).toBe(413);
  });
});

describe('predicting one set of values', () => {
  it('scales, fills the window and postprocesses as the manifest says', async () => {
    const byName = await post('/v1/predict/sum', { values: { a: 3, b: 5 } });
    expect(byName.body).toEqual({ model: 'sum', version: '1.2.0', label: 'high', score: 9, alarm: 1 });
    expect((await post('/v1/predict/sum', { values: [1, 1] })).body).toMatchObject({
      score: 0,
      label: 'normal',
    });
  });

  it.each([
    [{ a: 1 }, /missing or not finite: b/],
    [{ a: 1, b: 2, c: 3 }, /c: not features of the model/],
    [[1], /1 values, the model takes 2/],
    ['1', /neither an object nor an array/],
  ])('says what is wrong with %j', async (values, message) => {
    const { status: code, body } = await post('/v1/predict/sum', { values });
    expect(code).toBe(400);
    expect(body.error).toMatch(message);
    expect(typeof body.error).toBe('string');
  });
});

describe('health and metrics', () => {
  it('are ready only while golden answers come', async () => {
    expect(await get('/healthz')).toMatchObject({ status: 200, body: { ready: true } });
    ready = false;
    expect(await get('/healthz')).toMatchObject({
      status: 503,
      body: { reason: 'sum: output `y` differs by 3' },
    });
    expect((await get('/v2/health/ready')).status).toBe(503);
    expect((await get('/v2/health/live')).status).toBe(200);
    ready = true;
  });

  it('are Prometheus text with Triton’s names and escaped labels', async () => {
    const response = await fetch(`${api.url}/metrics`);
    const text = await response.text();
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
    expect(text).toContain('nv_inference_request_success{model="sum",version="1.2.0"} 7');
    expect(text).toContain('skein_readings_total{model="sum",source="odd \\"name\\"\\\\"} 9');
    expect(text).toContain('skein_outbox_records{stream="predictions",state="pending"} 2');
    expect(text).not.toContain('skein_incident_open');
    expect(parseExposition(text).length).toBeGreaterThan(20);
  });
});

describe('an occupied port', () => {
  it('is named with the variable that changes it', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const open = openLocalApi(
      { models: {} as never, status: () => status(true) },
      { host: '127.0.0.1', port },
    );
    await expect(open).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(String(port)),
      fix: expect.stringContaining('SKEIN_AGENT_PORT'),
    });
    other.close();
  });
});
