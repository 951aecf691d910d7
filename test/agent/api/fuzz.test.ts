import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { type LocalApi, openLocalApi } from '@skein/agent/api/http-local-api.ts';
import type { Tensors } from '@skein/agent/inference/backend.ts';
import type { CurrentModel } from '@skein/agent/inference/engine.ts';
import { checkInputs } from '@skein/agent/inference/tensors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const specs: TensorSpec[] = [{ name: 'x', type: 'float32', shape: [-1, 4] }];
const current = {
  manifest: {
    name: 'sum',
    version: '1.0.0',
    postprocess: { kind: 'regress', output: 'y', low: null, high: null },
  },
  variant: { id: 'fp32', backend: 'onnxruntime' },
  loaded: { inputs: specs, outputs: [{ name: 'y', type: 'float32', shape: [-1] }] },
} as unknown as CurrentModel;

const TOKEN = 'a-token-of-this-test';
let api: LocalApi;
let port: number;
beforeAll(async () => {
  const models = {
    version: '0.1.0',
    ready: () => true,
    current: (name: string) => (name === 'sum' ? current : undefined),
    all: () => [current],
    statistics: () => undefined,
    modelReady: () => true,
    async predict(_model: string, inputs: Tensors) {
      checkInputs(inputs, specs);
      const data = Float32Array.of((inputs.x!.data as Float32Array).reduce((sum, value) => sum + value, 0));
      return { outputs: { y: { type: 'float32' as const, dims: [1], data } }, version: '1.0.0' };
    },
  };
  const status = () => ({ models: [] }) as never;
  api = await openLocalApi({ models, status }, { host: '127.0.0.1', port: 0, token: TOKEN });
  port = Number(new URL(api.url).port);
});
afterAll(() => api.close());

function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const json = JSON.stringify({
  id: 'q',
  inputs: [{ name: 'x', shape: [1, 4], datatype: 'FP32', parameters: { binary_data_size: 16 } }],
  outputs: [{ name: 'y', parameters: { binary_data: true } }],
});
const request = (body: Buffer, more: string): Buffer =>
  Buffer.concat([
    Buffer.from(
      `POST /v2/models/sum/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n${more}Content-Length: ${body.length}\r\n\r\n`,
    ),
    body,
  ]);
const plain = Buffer.concat([Buffer.from(json), Buffer.from(Float32Array.of(1, 2, 3, 4).buffer)]);
const WHOLE = [
  request(plain, `Inference-Header-Content-Length: ${json.length}\r\n`),
  request(gzipSync(plain), `Content-Encoding: gzip\r\nInference-Header-Content-Length: ${json.length}\r\n`),
  request(Buffer.from('{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[[1,2,3,4]]}]}'), ''),
];

/** What the server says before it closes; '' when it only closes. */
const ask = (bytes: Buffer): Promise<string> =>
  new Promise((resolve) => {
    let said = '';
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes));
    socket.on('data', (part) => (said += part.toString('latin1')));
    socket.on('error', () => resolve(said));
    socket.on('close', () => resolve(said));
  });

describe('the local API', () => {
  it('answers good requests of every kind', async () => {
    for (const bytes of WHOLE) expect(await ask(bytes)).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  });

  it('lives through requests damaged at random and says what is wrong with each', async () => {
    const seed = Number(process.env.SKEIN_SEED ?? 20_261_126);
    const next = random(seed);
    const below = (limit: number) => Math.floor(next() * limit);
    const rounds = process.env.SKEIN_LONG === '1' ? 20_000 : 1_000;
    const answers = new Map<string, number>();
    for (let round = 0; round < rounds; round++) {
      let bytes: Buffer = Buffer.from(WHOLE[below(WHOLE.length)]!);
      const changes = 1 + below(4);
      for (let change = 0; change < changes; change++) {
        const at = below(bytes.length);
        const kind = below(4);
        if (kind === 0) bytes[at] = below(256);
        else if (kind === 1) bytes = bytes.subarray(0, at);
        else if (kind === 2)
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(9))]);
        else
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            bytes.subarray(below(at + 1), at + 1),
            bytes.subarray(at),
          ]);
        if (bytes.length === 0) break;
      }
      const said = await ask(bytes);
      const code = /^HTTP\/1.1 (\d{3}) /.exec(said)?.[1] ?? 'closed';
      answers.set(code, (answers.get(code) ?? 0) + 1);
      expect(code, `SKEIN_SEED=${seed}, round ${round}`).toMatch(
        /^(closed|200|400|401|404|405|413|417|431|501)$/,
      );
      if (code !== 'closed' && code !== '200') expect(said, `round ${round}`).toMatch(/"error":"[A-Z_]+: /);
    }
    expect(await ask(WHOLE[0]!)).toMatch(/^HTTP\/1.1 200 OK\r\n/);
    expect(answers.get('400')).toBeGreaterThan(rounds / 10);
  }, 120_000);

  it('stops a decompression bomb at the limit of a body', async () => {
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    const said = await ask(request(bomb, 'Content-Encoding: gzip\r\n'));
    expect(said).toMatch(/^HTTP\/1.1 413 .*unpacks to more than 16777216 bytes/s);
  });

  it('refuses JSON that would become far more than its bytes', async () => {
    const body = Buffer.concat([
      Buffer.from('{"inputs":['),
      Buffer.alloc(12 << 20, '{},'),
      Buffer.from('{}]}'),
    ]);
    expect(await ask(request(body, ''))).toMatch(
      /^HTTP\/1.1 413 .*would take too much memory.*binary_data_size/s,
    );
    expect(await ask(WHOLE[0]!)).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  });

  it('refuses a body of 100 MB from its length alone', async () => {
    const head = `POST /v2/models/sum/infer HTTP/1.1\r\nHost: x\r\nContent-Length: ${100 << 20}\r\n\r\n`;
    expect(await ask(Buffer.from(head))).toMatch(/^HTTP\/1.1 413 /);
  });

  it('asks for the token everywhere but at the health check', async () => {
    const get = (path: string, header = '') =>
      ask(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: x\r\n${header}Connection: close\r\n\r\n`));
    expect(await get('/v2')).toMatch(/^HTTP\/1.1 401 .*api.tokenFile/s);
    expect(await get('/v2', 'Authorization: Bearer another-token-of-16\r\n')).toMatch(/^HTTP\/1.1 401 /);
    expect(await get('/v2', `Authorization: Bearer ${TOKEN}\r\n`)).toMatch(/^HTTP\/1.1 200 /);
    expect(await get('/healthz')).toMatch(/^HTTP\/1.1 503 /);
  });

  it('listens beyond loopback only with a token', async () => {
    const open = openLocalApi(
      { models: {} as never, status: () => ({}) as never },
      { host: '0.0.0.0', port: 0 },
    );
    await expect(open).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      fix: expect.stringContaining('tokenFile'),
    });
  });
});
