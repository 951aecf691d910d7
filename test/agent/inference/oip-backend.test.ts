/** Servers that misbehave, and the reference sidecar that is killed and stopped. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedModel } from '@skein/agent/inference/backend.ts';
import { OipBackend, type OipBackendOptions } from '@skein/agent/inference/oip-backend.ts';
import { OipClient, oipAddress } from '@skein/agent/inference/oip-client.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { requestIn, row, sha256 } from '../../contracts/backend.contract.ts';
import { type SidecarProcess, startSidecar } from '../../contracts/sidecar-process.ts';
import { scaleModel } from './models.ts';
import { endless, hangUp, json, outputs, scriptedServer, silence } from './scripted-server.ts';

const BYTES = scaleModel(2, 2);
const HASH = sha256(BYTES);
const OTHER = 'b'.repeat(64);

let directory: string;
const closers: (() => unknown)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'skein-oip-'));
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  rmSync(directory, { recursive: true });
});

const faults: unknown[] = [];
function backendAt(url: string, options: Partial<OipBackendOptions> = {}): OipBackend {
  faults.length = 0;
  const onFault = (fault: unknown) => void faults.push(fault);
  const backend = new OipBackend({ name: 'acc', url, timeoutMs: 5_000, onFault, ...options });
  closers.push(() => backend.close());
  return backend;
}
async function scripted(options: Partial<OipBackendOptions> = {}) {
  const server = await scriptedServer(HASH);
  closers.push(() => server.close());
  const backend = backendAt(server.url, options);
  return { server, backend, load: () => backend.load(requestIn(directory, BYTES)) };
}
const y = async (model: LoadedModel, ...values: number[]) => [
  ...((await model.infer(row(...values))).y!.data as Float32Array),
];

describe('an infer answer', () => {
  const shape = (datatype: string, dims: number[], size: number) => ({
    outputs: [{ name: 'y', datatype, shape: dims, parameters: { binary_data_size: size } }],
    bytes: new Uint8Array(size),
  });
  it.each([
    ['a wrong shape', outputs(shape('FP32', [1, 3], 12)), '[1,3]'],
    ['a wrong rank', outputs(shape('FP32', [2], 8)), '[2]'],
    ['a wrong type', outputs(shape('FP64', [1, 2], 16)), 'FP64'],
    ['fewer bytes than its shape needs', outputs({ bytes: new Uint8Array(4) }), 'needs 8 bytes'],
    ['more bytes than its shape needs', outputs({ bytes: new Uint8Array(99) }), '91 bytes too many'],
    ['a size that is not its shape’s', outputs(shape('FP32', [1, 2], 12)), 'needs 8 bytes'],
    ['no outputs', outputs({ outputs: [], bytes: new Uint8Array() }), '`y` is missing'],
    [
      'an output that nobody asked for',
      outputs({
        outputs: [{ name: 'z', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
      }),
      '`z` was not asked for',
    ],
    ['another model’s name', outputs({ about: { model_name: 'other' } }), 'model_name other'],
    ['another version', outputs({ about: { model_version: '7' } }), 'model_version 7'],
    ['the hash of another model', outputs({ about: { parameters: { sha256: OTHER } } }), OTHER],
    [
      'a header longer than the body',
      outputs({ headers: { 'inference-header-content-length': '99999' } }),
      '99999',
    ],
    ['a negative header', outputs({ headers: { 'inference-header-content-length': '-5' } }), '-5'],
    ['what is no JSON', json(200, undefined), 'an answer of 0 bytes'],
    ['a shape with a negative size', outputs(shape('FP32', [-1, 2], 8)), 'shape'],
  ])('with %s is not believed', async (_title, answer, words) => {
    const { server, load } = await scripted();
    const model = await load();
    server.on.infer = answer;
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({
      code: 'BACKEND_FAULT',
      blame: 'environment',
      message: expect.stringContaining(words),
    });
    server.on.infer = outputs();
    expect(await y(model, 1, 2)).toEqual([2, 4]);
    expect(server.calls.filter(({ path }) => path.endsWith('/load'))).toHaveLength(2);
  });

  it('in JSON, from a server without the binary extension, is taken', async () => {
    const { server, load } = await scripted();
    const model = await load();
    server.on.infer = json(200, { outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], data: [5, 6] }] });
    expect(await y(model, 1, 2)).toEqual([5, 6]);
  });

  it.each([
    ['without end', endless],
    ['of more bytes than allowed', outputs({ bytes: new Uint8Array(1 << 20) })],
  ])('%s is cut off', async (_title, answer) => {
    const { server, load } = await scripted({ maxAnswerBytes: 100_000 });
    const model = await load();
    server.on.infer = answer;
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'BACKEND_FAULT' });
    server.on.infer = outputs();
    expect(await y(model, 3, 4)).toEqual([6, 8]);
  });
});

describe('a request that is not answered', () => {
  it('ends at its time limit and is the model’s fault while the server says that it lives', async () => {
    const { server, load } = await scripted();
    const model = await load();
    server.on.infer = silence;
    await expect(model.infer(row(1, 2), 100)).rejects.toMatchObject({ code: 'MODEL_TIMEOUT' });
    server.on.infer = outputs();
    expect(await y(model, 1, 2)).toEqual([2, 4]);
  });

  it('is this machine’s fault when the server does not answer at all', async () => {
    const { server, load } = await scripted();
    const model = await load();
    [server.on.infer, server.on.live] = [silence, silence];
    await expect(model.infer(row(1, 2), 100)).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      blame: 'environment',
    });
    expect(faults.at(-1)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('lets other models of other backends go on', async () => {
    const { server, load } = await scripted();
    const hanging = await load();
    const own = await new OnnxBackend({ placement: 'inline' }).load(requestIn(directory, BYTES));
    closers.push(() => own.close());
    server.on.infer = silence;
    const stuck = hanging.infer(row(1, 2), 1_000).catch((error: unknown) => error);
    for (let i = 0; i < 20; i++) expect(await y(own, i, 1)).toEqual([2 * i, 2]);
    expect(await stuck).toMatchObject({ code: 'MODEL_TIMEOUT' });
  });

  it('is refused at once when too many wait', async () => {
    const { server, load } = await scripted({ queueLimit: 2 });
    const model = await load();
    server.on.infer = silence;
    const waiting = [1, 2].map(() => model.infer(row(1, 2), 200).catch(() => undefined));
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'OVERLOADED' });
    await Promise.all(waiting);
  });
});

describe('a server that refuses', () => {
  it.each([
    ['busy by status', json(503, { error: 'try later' }), 'BACKEND_BUSY'],
    ['busy by code', json(500, { error: 'no', code: 'BACKEND_BUSY' }), 'BACKEND_BUSY'],
    [
      'out of device memory, in CUDA’s words',
      json(400, { error: 'CUDA failure 2: out of memory' }),
      'BACKEND_BUSY',
    ],
    [
      'with a driver that does not fit',
      json(409, { error: 'x', code: 'DRIVER_MISMATCH' }),
      'DRIVER_MISMATCH',
    ],
    [
      'with a driver that does not fit, in CUDA’s words',
      json(500, { error: 'CUDA driver version is insufficient for CUDA runtime version' }),
      'DRIVER_MISMATCH',
    ],
    [
      'with an engine of another TensorRT',
      json(400, { error: 'The engine plan file is not compatible with this version of TensorRT' }),
      'DRIVER_MISMATCH',
    ],
    ['by hanging up in the middle', hangUp, 'BACKEND_UNAVAILABLE'],
    ['with what is not HTTP’s success', json(500, {}), 'BACKEND_UNAVAILABLE'],
    ['without a load call', json(404, { error: 'no route' }), 'BACKEND_UNAVAILABLE'],
    ['by an endless answer', endless, 'BACKEND_FAULT'],
    ['by a hash that is not the file’s', json(200, { state: 'READY', sha256: OTHER }), 'BACKEND_FAULT'],
    ['to say what it loaded', json(200, { state: 'READY' }), 'BACKEND_UNPROVEN'],
  ])('to load, %s, is this machine’s fault', async (_title, answer, code) => {
    const { server, load } = await scripted();
    server.on.load = answer;
    await expect(load()).rejects.toMatchObject({ code, blame: 'environment' });
    expect(faults.at(-1)).toMatchObject({ code });
    server.on.load = json(200, { state: 'READY', sha256: HASH });
    expect(await y(await load(), 1, 2)).toEqual([2, 4]);
    expect(faults.at(-1)).toBeNull();
  });

  it.each([
    ['at work with it still', json(202, { state: 'COMPILING' })],
    ['holding other bytes under its name', json(200, { state: 'READY', sha256: OTHER })],
  ])('to load, %s, is told to forget it', async (_title, answer) => {
    const { server, load } = await scripted({ loadTimeoutMs: 300 });
    server.on.load = answer;
    await expect(load()).rejects.toMatchObject({ blame: 'environment' });
    const [asked] = server.calls.filter(({ path }) => path.endsWith('/load'));
    expect(server.calls.at(-1)!.path).toBe(`/v2/repository/models/${asked!.name}/unload`);
  });

  // The words of CUDA 13, cuBLAS, cuDNN and onnxruntime, as a server without codes passes them on.
  it.each([
    ['CUDA out of memory. Tried to allocate 20.00 MiB', 'BACKEND_BUSY'],
    ['CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`', 'BACKEND_BUSY'],
    ['Failed to allocate memory for requested buffer of size 4194304', 'BACKEND_BUSY'],
    ['cuDNN error: CUDNN_STATUS_INTERNAL_ERROR', 'BACKEND_UNAVAILABLE'],
    ['CUDA error: device-side assert triggered', 'BACKEND_UNAVAILABLE'],
    ['CUDA error: an illegal memory access was encountered', 'BACKEND_UNAVAILABLE'],
    ['CUDA error: unspecified launch failure', 'BACKEND_UNAVAILABLE'],
    ['CUDA error: uncorrectable ECC error encountered', 'BACKEND_UNAVAILABLE'],
  ])('in the words “%s” blames no model, whether it loads or infers', async (error, code) => {
    const { server, load } = await scripted();
    const model = await load();
    server.on.infer = json(500, { error });
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code, blame: 'environment' });
    server.on.load = json(400, { error });
    await expect(load()).rejects.toMatchObject({ code, blame: 'environment' });
  });

  it('the file itself blames the model', async () => {
    const { server, load } = await scripted();
    server.on.load = json(400, { error: 'unsupported operator NonMaxSuppression' });
    await expect(load()).rejects.toMatchObject({ code: 'MODEL_INVALID', blame: 'operator' });
  });

  it('an inference because the model fails blames the model, because it is busy does not', async () => {
    const { server, load } = await scripted();
    const model = await load();
    server.on.infer = json(500, { error: 'op failed' });
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'MODEL_CRASHED' });
    server.on.infer = json(503, { error: 'later' });
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'BACKEND_BUSY' });
  });
});

describe('a server that compiles', () => {
  it('is asked again until it is ready, and its progress is told', async () => {
    const { server, backend } = await scripted();
    const shares = [0.1, 0.6];
    server.on.load = (call, response) => {
      const progress = shares.shift();
      const answer = progress === undefined ? { sha256: HASH } : { state: 'COMPILING', progress };
      json(progress === undefined ? 200 : 202, answer)(call, response);
    };
    const told: (number | null)[] = [];
    const model = await backend.load(requestIn(directory, BYTES), (share) => told.push(share));
    expect(told).toEqual([0.1, 0.6]);
    expect(await y(model, 1, 2)).toEqual([2, 4]);
  });

  it('without end is given up at the load’s own limit, without blaming the model', async () => {
    const { server, load } = await scripted({ loadTimeoutMs: 600 });
    server.on.load = json(202, { state: 'COMPILING' });
    await expect(load()).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', blame: 'environment' });
  });
});

describe('a model repository (Triton)', () => {
  it('gets the bytes and a configuration; the proof is the hash of what was sent', async () => {
    const { server, load } = await scripted({ load: 'repository' });
    server.on.load = (_, response) => void response.writeHead(200).end();
    const model = await load();
    expect(model).toMatchObject({ proof: 'sent', sha256: HASH });
    expect(model.reason).toContain('hash of the bytes sent');
    const sent = server.calls.find(({ path }) => path.endsWith('/load'))!;
    const { parameters } = JSON.parse(sent.body.toString()) as { parameters: Record<string, string> };
    expect(JSON.parse(parameters.config!)).toEqual({ name: sent.name, backend: 'onnxruntime' });
    expect(Buffer.from(parameters['file:1/model.onnx']!, 'base64').equals(BYTES)).toBe(true);
    expect(await y(model, 1, 2)).toEqual([2, 4]);
  });

  it('that forgot the model, in Triton’s words, gets it again', async () => {
    const { server, load } = await scripted({ load: 'repository' });
    const model = await load();
    const forgotten = json(400, { error: "Request for unknown model: 'x' is not found" });
    server.on.infer = (call, response) => {
      server.on.infer = outputs();
      forgotten(call, response);
    };
    expect(await y(model, 1, 2)).toEqual([2, 4]);
  });
});

describe('what an earlier life left loaded', () => {
  it('is unloaded before the first load, but nobody else’s', async () => {
    const { server, load } = await scripted();
    server.on.index = json(200, [
      { name: 'skein-run-host-0123456789ab-0', state: 'READY' },
      { name: 'skein-try-host-0123456789ab-0', state: 'READY' },
      { name: 'someone-elses', state: 'READY' },
    ]);
    await load();
    const unloaded = server.calls.filter(({ path }) => path.endsWith('/unload')).map(({ name }) => name);
    expect(unloaded).toEqual(['skein-run-host-0123456789ab-0']);
  });
});

describe('the facts of a server', () => {
  it('are its own; what it does not say is taken from the configuration', async () => {
    const { server, backend } = await scripted({ target: 'from-config', sdk: '1' });
    expect(await backend.facts()).toEqual({ target: 't1', sdk: '4.2', fault: null });
    server.on.facts = json(200, { name: 'triton', version: '2.60.0', extensions: ['model_repository'] });
    expect(await backend.facts()).toEqual({ target: 'from-config', sdk: '1', fault: null });
  });

  it('may be null where it does not know them, in a load’s answer too', async () => {
    const { server, backend, load } = await scripted({ target: 'from-config' });
    const unknown = { target: null, sdk: null, fault: null };
    server.on.facts = json(200, { name: null, version: null, skein: unknown });
    expect(await backend.facts()).toEqual({ target: 'from-config', sdk: null, fault: null });
    server.on.facts = json(200, { skein: { ...unknown, fault: { code: 'BACKEND_BUSY', error: null } } });
    expect(await backend.facts()).toMatchObject({ fault: { code: 'BACKEND_BUSY' } });
    const answers = [
      json(202, { state: 'COMPILING', progress: null }),
      json(200, { state: null, sha256: HASH, provider: null }),
    ];
    server.on.load = (call, response) => answers.shift()!(call, response);
    expect(await y(await load(), 1, 2)).toEqual([2, 4]);
  });

  it.each([
    ['absent', undefined, 'BACKEND_UNAVAILABLE'],
    ['hanging', silence, 'BACKEND_UNAVAILABLE'],
    ['talking without end', endless, 'BACKEND_FAULT'],
    ['not of this protocol', json(200, []), 'BACKEND_FAULT'],
    [
      'with a fault that it knows of',
      json(200, { skein: { fault: { code: 'DRIVER_MISMATCH', error: 'driver 4.19, library 4.20' } } }),
      'DRIVER_MISMATCH',
    ],
  ])('that is %s are a fault and no exception', async (_title, answer, code) => {
    const { server, backend } = await scripted();
    if (answer) server.on.facts = answer;
    else await server.close();
    expect(await backend.facts()).toMatchObject({ fault: { code } });
    expect(faults.at(-1)).toMatchObject({ code });
  });
});

/** @returns status and body of the answer */
const postLoad = (socketPath: string, parameters: object): Promise<string> =>
  new Promise((done) => {
    const options = { socketPath, method: 'POST', path: '/v2/repository/models/m/load' };
    httpRequest(options, async (message) => {
      let text = '';
      for await (const chunk of message) text += chunk;
      done(`${message.statusCode} ${text}`);
    }).end(JSON.stringify({ parameters }));
  });

describe('a listener with room for two', () => {
  it('gets all of many at once, one after the other', async () => {
    const path = join(directory, 'small.sock');
    const server = createServer((_, response) => void response.end('{}'));
    await new Promise<void>((done) => server.listen({ path, backlog: 1 }, done));
    closers.push(() => server.close());
    const client = new OipClient('acc', `unix:${path}`, 4);
    closers.push(() => client.close());
    const call = { path: '/v2', control: true, timeoutMs: 5_000, maxBytes: 100 };
    const replies = await Promise.all(Array.from({ length: 16 }, () => client.exchange(call)));
    expect(replies.map(({ status }) => status)).toEqual(new Array(16).fill(200));
  });
});

describe('the reference sidecar', () => {
  let sidecar: SidecarProcess;
  const socket = () => `unix:${join(directory, 's.sock')}`;
  const start = async () => {
    sidecar = await startSidecar(socket());
    closers.push(() => sidecar.kill());
  };

  it('that restarts gets the model again and proves its hash again', async () => {
    await start();
    const model = await backendAt(socket()).load(requestIn(directory, BYTES));
    expect(await y(model, 1, 2)).toEqual([2, 4]);
    await sidecar.kill();
    await expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect(faults.at(-1)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await start();
    await vi.waitFor(async () => expect(await y(model, 1, 2)).toEqual([2, 4]), {
      timeout: 10_000,
      interval: 50,
    });
    expect(faults.at(-1)).toBeNull();
  });

  it('that restarts beside other bytes under the same path is refused until they are right', async () => {
    await start();
    const request = requestIn(directory, BYTES);
    const model = await backendAt(socket()).load(request);
    await sidecar.kill();
    writeFileSync(request.path, scaleModel(2, 9));
    await start();
    await vi.waitFor(() => expect(model.infer(row(1, 2))).rejects.toMatchObject({ code: 'BLOB_MISMATCH' }), {
      timeout: 10_000,
      interval: 50,
    });
    writeFileSync(request.path, BYTES);
    await vi.waitFor(async () => expect(await y(model, 1, 2)).toEqual([2, 4]), {
      timeout: 10_000,
      interval: 50,
    });
  });

  it('that read other bytes than it was asked for reads the file again when it is asked again', async () => {
    await start();
    const request = requestIn(directory, BYTES);
    const path = join(directory, 'raced');
    const ask = () => postLoad(join(directory, 's.sock'), { path, sha256: request.sha256 });
    writeFileSync(path, scaleModel(2, 9));
    expect(await ask()).toMatch(new RegExp(`^200 .*${sha256(scaleModel(2, 9))}`));
    writeFileSync(path, BYTES);
    expect(await ask()).toMatch(new RegExp(`^200 .*${HASH}`));
  });

  it('takes models of more bytes than an inference may have', async () => {
    await start();
    const junk = Buffer.alloc(70 << 20, 'A').toString();
    expect(await postLoad(join(directory, 's.sock'), { 'file:1/model.onnx': junk })).toMatch(
      /^400 .*MODEL_INVALID/,
    );
  });

  it('that is killed in the middle of requests fails them, and the agent lives', async () => {
    await start();
    const model = await backendAt(socket()).load(requestIn(directory, BYTES));
    const many = Array.from({ length: 40 }, () => model.infer(row(1, 2)).catch((e: unknown) => e));
    await sidecar.kill();
    for (const outcome of await Promise.all(many)) {
      if (outcome instanceof Error) expect(outcome).toMatchObject({ blame: 'environment' });
    }
  });

  it('that is stopped hangs: requests end at their limit, and it goes on afterwards', async () => {
    await start();
    const model = await backendAt(socket()).load(requestIn(directory, BYTES));
    sidecar.signal('SIGSTOP');
    await expect(model.infer(row(1, 2), 200)).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    sidecar.signal('SIGCONT');
    expect(await y(model, 1, 2)).toEqual([2, 4]);
  });

  it('says its hardware and its version', async () => {
    sidecar = await startSidecar(socket(), '--target', 'hailo8l', '--sdk', '4.20.0');
    closers.push(() => sidecar.kill());
    expect(await backendAt(socket()).facts()).toEqual({ target: 'hailo8l', sdk: '4.20.0', fault: null });
  });

  it('refuses what it can not read as its own trouble', async () => {
    await start();
    const asked = { path: join(directory, 'nothing'), sha256: HASH };
    expect(await postLoad(join(directory, 's.sock'), asked)).toMatch(/^503 .*BACKEND_UNAVAILABLE/);
  });
});

describe('an address', () => {
  it.each([['unix:/run/x.sock'], ['http://127.0.0.1:8000'], ['http://localhost:1'], ['http://[::1]:8000/']])(
    '%s is local',
    (url) => {
      expect(oipAddress(url)).toBeDefined();
    },
  );
  it.each([
    ['http://10.0.0.1:8000'],
    ['https://127.0.0.1'],
    ['http://127.0.0.1.evil.example'],
    ['unix:relative.sock'],
    ['http://127.0.0.1:1/path'],
    ['nonsense'],
  ])('%s is refused', (url) => {
    expect(() => oipAddress(url)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});
