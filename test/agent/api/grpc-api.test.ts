import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Metadata, status } from '@grpc/grpc-js';
import { type GrpcApi, type GrpcOptions, openGrpcApi } from '@skein/agent/api/grpc-api.ts';
import type { GrpcDeps } from '@skein/agent/api/grpc-server.ts';
import type { OipModels } from '@skein/agent/api/oip-models.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GrpcClient, type Message } from './grpc-client.ts';
import { int32sOf, SLOW, simple, slow } from './grpc-requests.ts';
import { type Served, serveModels } from './served-models.ts';

let served: Served;
let api: GrpcApi;
let client: GrpcClient;
const open = (deps: Partial<GrpcDeps> = {}, options: Partial<GrpcOptions> = {}) =>
  openGrpcApi(
    { models: served.models, clock: systemClock, ...deps },
    { host: '127.0.0.1', port: 0, ...options },
  );

beforeAll(async () => {
  served = await serveModels(['simple', 'slow']);
  api = await open();
  client = new GrpcClient(api.address);
});
afterAll(async () => {
  client.close();
  await api.close();
  await served.close();
});

/** When the first inference has been handed to the engine. */
function whenStarted(models: OipModels) {
  const { promise: started, resolve } = Promise.withResolvers<void>();
  const predict: OipModels['predict'] = (...call) => {
    const answer = models.predict(...call);
    resolve();
    return answer;
  };
  return { models: { ...models, predict }, started };
}

const MODEL = { name: 'simple', version: '1.0.0' };

describe('the inference service over gRPC', () => {
  it('says whether server and models are there and give their golden answers', async () => {
    expect(await client.call('ServerLive')).toEqual({ live: true });
    expect(await client.call('ServerReady')).toEqual({ ready: true });
    expect(await client.call('ModelReady', MODEL)).toEqual({ ready: true });
    expect(await client.call('ModelReady', { ...MODEL, version: '2.0.0' })).toEqual({ ready: false });
    expect(await client.call('ModelReady', { name: 'none' })).toEqual({ ready: false });
    served.ready = false;
    expect(await client.call('ServerReady')).toEqual({ ready: false });
    expect(await client.call('ModelReady', MODEL)).toEqual({ ready: false });
    served.ready = true;
  });

  it('describes the server, and a model with its tensors', async () => {
    expect(await client.call('ServerMetadata')).toEqual({
      name: 'skein-agent',
      version: '0.1.0',
      extensions: ['classification', 'model_configuration', 'model_repository', 'statistics'],
    });
    const tensor = (name: string) => ({ name, datatype: 'INT32', shape: [-1, 16] });
    expect(await client.call('ModelMetadata', { name: 'simple' })).toEqual({
      name: 'simple',
      versions: ['1.0.0'],
      platform: 'onnxruntime_onnx',
      inputs: [tensor('INPUT0'), tensor('INPUT1')],
      outputs: [tensor('OUTPUT0'), tensor('OUTPUT1')],
    });
    const unknown = client.call('ModelMetadata', { name: 'simple', version: '9.0.0' });
    await expect(unknown).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining('NOT_FOUND: simple runs version 1.0.0, not 9.0.0'),
    });
  });

  it('gives the configuration with types and kinds by number', async () => {
    const { config } = await client.call('ModelConfig', MODEL);
    expect(config).toMatchObject({
      ...{ name: 'simple', platform: 'onnxruntime_onnx', backend: 'onnxruntime' },
      max_batch_size: served.models.current('simple')!.maxBatch,
      input: [
        { name: 'INPUT0', data_type: 'TYPE_INT32', dims: [16] },
        { name: 'INPUT1', data_type: 'TYPE_INT32', dims: [16] },
      ],
      output: [{ name: 'OUTPUT0', data_type: 'TYPE_INT32', dims: [16] }, {}],
      instance_group: [{ name: 'simple_0', kind: 'KIND_CPU', count: 1 }],
      version_policy: { latest: { num_versions: 1 } },
      dynamic_batching: { preserve_ordering: false },
      parameters: { variant: { string_value: 'fp32' }, placement: { string_value: 'worker' } },
    });
  });

  it('answers raw contents with raw contents, in the order of the model’s outputs', async () => {
    const answer = await client.call('ModelInfer', simple({ id: 'one' }));
    expect(answer).toMatchObject({
      model_name: 'simple',
      model_version: '1.0.0',
      id: 'one',
      outputs: [
        { name: 'OUTPUT0', datatype: 'INT32', shape: [1, 16] },
        { name: 'OUTPUT1', datatype: 'INT32', shape: [1, 16] },
      ],
    });
    expect(int32sOf(answer, 0)).toEqual(Array.from({ length: 16 }, (_, i) => 2 * i));
    expect(int32sOf(answer, 1)).toEqual(Array(16).fill(0));
  });

  it('counts what it did', async () => {
    const counted = async () => {
      const { model_stats } = (await client.call('ModelStatistics', MODEL)) as { model_stats: Message[] };
      return model_stats[0] as { inference_count: number; execution_count: number } & Message;
    };
    const before = await counted();
    await client.call('ModelInfer', simple());
    const after = await counted();
    expect(after).toMatchObject({ name: 'simple', version: '1.0.0' });
    expect(after.inference_count - before.inference_count).toBe(1);
    expect(after.execution_count - before.execution_count).toBe(1);
    expect(after.last_inference).toBeGreaterThan(Date.now() - 60_000);
    expect(after.inference_stats).toMatchObject({
      success: { count: after.inference_count, ns: expect.any(Number) },
      cache_hit: { count: 0, ns: 0 },
    });
    expect(after.batch_stats).toMatchObject([{ batch_size: 1 }]);
    const { model_stats } = (await client.call('ModelStatistics')) as { model_stats: Message[] };
    expect(model_stats.map(({ name }) => name)).toEqual(['simple', 'slow']);
  });

  it('lists the repository, and only what is ready when asked to', async () => {
    const entry = (name: string) => ({ name, version: '1.0.0', state: 'READY', reason: '' });
    expect(await client.call('RepositoryIndex')).toEqual({ models: [entry('simple'), entry('slow')] });
    served.ready = false;
    const { models } = (await client.call('RepositoryIndex')) as { models: Message[] };
    expect(models[0]).toMatchObject({ state: 'UNAVAILABLE', reason: expect.stringContaining('golden') });
    expect(await client.call('RepositoryIndex', { ready: true })).toEqual({ models: [] });
    served.ready = true;
  });

  it.each(['RepositoryModelLoad', 'RepositoryModelUnload'])(
    'refuses %s: models come by signed orders',
    async (method) => {
      await expect(client.call(method, { model_name: 'simple' })).rejects.toMatchObject({
        code: status.PERMISSION_DENIED,
        details: expect.stringContaining('signed orders'),
      });
      expect(await client.call('ModelReady', MODEL)).toEqual({ ready: true });
    },
  );

  it.each(['SystemSharedMemoryStatus', 'CudaSharedMemoryRegister', 'TraceSetting', 'LogSettings'])(
    'says that it has no %s, and why',
    async (method) => {
      await expect(client.call(method)).rejects.toMatchObject({
        code: status.UNIMPLEMENTED,
        details: expect.stringMatching(/shared memory|traced|logged/),
      });
    },
  );
});

describe('health over gRPC', () => {
  it('checks server and service, and knows no other', async () => {
    expect(await client.call('Check')).toEqual({ status: 'SERVING' });
    served.ready = false;
    const service = 'inference.GRPCInferenceService';
    expect(await client.call('Check', { service })).toEqual({ status: 'NOT_SERVING' });
    served.ready = true;
    await expect(client.call('Check', { service: 'none' })).rejects.toMatchObject({ code: status.NOT_FOUND });
  });

  it('tells a watcher at once and at every change', async () => {
    const call = client.watch('Watch', { service: '' });
    const seen: unknown[] = [];
    const changed = new Promise<void>((resolve) =>
      call.on('data', (answer: Message) => {
        seen.push(answer.status);
        served.ready = false;
        if (seen.length === 2) resolve();
      }),
    );
    call.on('error', () => undefined);
    await changed;
    call.cancel();
    served.ready = true;
    expect(seen).toEqual(['SERVING', 'NOT_SERVING']);
    const other = client.watch('Watch', { service: 'none' });
    other.on('error', () => undefined);
    expect(await new Promise((resolve) => other.once('data', resolve))).toEqual({
      status: 'SERVICE_UNKNOWN',
    });
    other.cancel();
  });
});

describe('limits of gRPC calls', () => {
  it('gives up at the client’s deadline, and answers the next call', async () => {
    const late = client.call('ModelInfer', SLOW, { deadlineMs: 15 });
    await expect(late).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    expect(await client.call('ModelInfer', simple())).toMatchObject({ model_name: 'simple' });
  });

  it('honours the timeout parameter, in microseconds, and says which limit it was', async () => {
    const timeout = { timeout: { int64_param: 5_000 } };
    const late = client.call('ModelInfer', { ...SLOW, parameters: timeout });
    await expect(late).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
      details: expect.stringMatching(/^MODEL_TIMEOUT: .* 5 ms/),
    });
  });

  it('refuses a message beyond the limit without reading it, and lives', async () => {
    const small = await open({}, { maxMessage: 10_000 });
    const other = new GrpcClient(small.address);
    const rows = 1_000;
    const raw = Buffer.alloc(rows * 64);
    const tooLong = simple({
      inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [rows, 16] })),
      raw_input_contents: [raw, raw],
    });
    await expect(other.call('ModelInfer', tooLong)).rejects.toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
    expect(await other.call('ModelInfer', simple())).toMatchObject({ model_name: 'simple' });
    other.close();
    await small.close();
  });

  it('refuses what finds no place in the model’s queue', async () => {
    const crowded = await serveModels(['slow'], { queueLimit: 2 });
    const { models, started } = whenStarted(crowded.models);
    const busy = await open({ models });
    const other = new GrpcClient(busy.address);
    const running = other.call('ModelInfer', SLOW);
    await started;
    const calls = await Promise.allSettled(
      Array.from({ length: 8 }, () => other.call('ModelInfer', slow(1))),
    );
    const refused = calls.filter((call) => call.status === 'rejected').map(({ reason }) => reason as Message);
    expect(refused.length).toBe(6);
    for (const error of refused) {
      expect(error).toMatchObject({
        code: status.RESOURCE_EXHAUSTED,
        details: expect.stringMatching(/^OVERLOADED/),
      });
    }
    expect(await running).toMatchObject({ model_name: 'slow' });
    other.close();
    await busy.close();
    await crowded.close();
  });

  it('forgets a cancelled call and answers the others', async () => {
    const stream = client.stream('ModelStreamInfer');
    stream.on('error', () => undefined);
    for (let i = 0; i < 4; i++) stream.write(SLOW);
    stream.cancel();
    expect(await client.call('ModelInfer', simple())).toMatchObject({ model_name: 'simple' });
  });

  it('lets in only who is authorized, by the metadata', async () => {
    const closed = await open({}, { token: 'secret' });
    const other = new GrpcClient(closed.address);
    const denied = { code: status.UNAUTHENTICATED };
    await expect(other.call('ModelInfer', simple())).rejects.toMatchObject(denied);
    const stream = other.stream('ModelStreamInfer');
    const streamed = new Promise((resolve) => stream.once('error', resolve).on('data', () => undefined));
    stream.write(simple());
    expect(await streamed).toMatchObject(denied);
    expect(await other.call('Check')).toEqual({ status: 'SERVING' });
    const metadata = new Metadata();
    metadata.set('authorization', 'Bearer secret');
    expect(await other.call('ModelInfer', simple(), { metadata })).toMatchObject({ model_name: 'simple' });
    other.close();
    await closed.close();
  });
});

describe('opening and closing gRPC', () => {
  it('names the port that is taken, and what to do', async () => {
    const port = Number(api.address.split(':')[1]);
    const again = openGrpcApi({ models: served.models, clock: systemClock }, { host: '127.0.0.1', port });
    await expect(again).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      fix: expect.stringContaining('grpcPort'),
    });
  });

  it('listens on a Unix socket too, and not where somebody else does', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'skein-grpc-'));
    const socket = join(dir, 'grpc.sock');
    const left = createServer().listen(socket);
    await new Promise((resolve) => left.once('listening', resolve));
    await expect(open({}, { socket })).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    left.close();
    const both = await open({}, { socket });
    expect(statSync(socket).mode & 0o777).toBe(0o660);
    const other = new GrpcClient(`unix:${socket}`);
    expect(await other.call('ModelInfer', simple())).toMatchObject({ model_name: 'simple' });
    other.close();
    await both.close();
    rmSync(dir, { recursive: true });
  });

  it('does not leave this device without a token', async () => {
    await expect(open({}, { host: '0.0.0.0' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      fix: expect.stringContaining('tokenFile'),
    });
  });

  it('lets a call that is going on end, and closes idle and silent connections', async () => {
    const { models, started } = whenStarted(served.models);
    const ending = await open({ models });
    const other = new GrpcClient(ending.address);
    await other.call('ServerLive');
    const [host, port] = ending.address.split(':');
    const silent = connect(Number(port), host);
    await new Promise((resolve) => silent.once('connect', resolve));
    const silentClosed = new Promise((resolve) => silent.resume().once('close', resolve));
    const answer = other.call('ModelInfer', SLOW);
    await started;
    await ending.close();
    expect(await answer).toMatchObject({ model_name: 'slow' });
    await silentClosed;
    await expect(other.call('ServerLive', {}, { deadlineMs: 5_000 })).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
    other.close();
  });

  it('does not wait for a call beyond its grace', async () => {
    const predict = () => new Promise<never>(() => undefined);
    const { models, started } = whenStarted({ ...served.models, predict });
    const graces: number[] = [];
    const after: Clock['after'] = (delayMs, task) => {
      graces.push(delayMs);
      return systemClock.after(1, task);
    };
    const ending = await open({ models, clock: { ...systemClock, after } });
    const other = new GrpcClient(ending.address);
    const hanging = other.call('ModelInfer', SLOW).catch((error: unknown) => error);
    await started;
    await ending.close();
    expect(await hanging).toMatchObject({ code: expect.any(Number) });
    expect(Math.max(...graces)).toBeLessThan(900);
    other.close();
  });
});
