import { connect } from 'node:net';
import { type GrpcApi, openGrpcApi } from '@skein/agent/api/grpc-api.ts';
import { systemClock } from '@skein/agent/system-clock.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { below, pick, type Random, seeded } from '../../protocol/batch/random.ts';
import { encodeRequest, GrpcClient, type Message } from './grpc-client.ts';
import { int32, int32sOf, simple } from './grpc-requests.ts';
import { frame, RawGrpc } from './raw-grpc.ts';
import { type Served, serveModels } from './served-models.ts';

const SEED = Number(process.env.SKEIN_FUZZ_SEED ?? 20_261);
const INFER = '/inference.GRPCInferenceService/ModelInfer';
const STREAM = '/inference.GRPCInferenceService/ModelStreamInfer';

let served: Served;
let api: GrpcApi;
let client: GrpcClient;
const uncaught: unknown[] = [];
const note = (error: unknown): void => void uncaught.push(error);
beforeAll(async () => {
  process.on('uncaughtExceptionMonitor', note);
  served = await serveModels(['simple']);
  api = await openGrpcApi({ models: served.models, clock: systemClock }, { host: '127.0.0.1', port: 0 });
  client = new GrpcClient(api.address);
});
afterAll(async () => {
  client.close();
  await api.close();
  await served.close();
  process.off('uncaughtExceptionMonitor', note);
});

/** It still computes, and nothing was thrown that would have ended the agent. */
async function lives(seed: number): Promise<void> {
  const answer = await client.call('ModelInfer', simple());
  expect(int32sOf(answer, 0)[3], `SKEIN_FUZZ_SEED=${seed}`).toBe(6);
  expect(uncaught, `SKEIN_FUZZ_SEED=${seed}`).toEqual([]);
}

const randomBytes = (random: Random, length: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, () => below(random, 256)));

/** Some bytes changed, cut out, doubled or made extreme. */
function mutated(random: Random, bytes: Buffer): Buffer {
  let result = Buffer.from(bytes);
  for (let i = 1 + below(random, 4); i > 0 && result.length > 0; i--) {
    const at = below(random, result.length);
    const end = at + 1 + below(random, 12);
    const kind = below(random, 4);
    if (kind === 0) result[at] = below(random, 256);
    else if (kind === 1) result = Buffer.concat([result.subarray(0, at), result.subarray(end)]);
    else if (kind === 2) result = Buffer.concat([result.subarray(0, end), result.subarray(at)]);
    else result.fill(255, at, Math.min(end, result.length));
  }
  return result;
}

const SAMPLES: [method: string, message: Message][] = [
  ['ModelInfer', simple()],
  [
    'ModelInfer',
    simple({
      inputs: ['INPUT0', 'INPUT1'].map((name) =>
        int32(name, { contents: { int_contents: Array(16).fill(7) } }),
      ),
      raw_input_contents: [],
      parameters: { timeout: { int64_param: 5_000 } },
      outputs: [{ name: 'OUTPUT0', parameters: { classification: { int64_param: 3 } } }],
    }),
  ],
  ['ModelMetadata', { name: 'simple', version: '1.0.0' }],
  ['ModelConfig', { name: 'simple' }],
  ['ModelStatistics', { name: 'simple' }],
  ['RepositoryIndex', { ready: true }],
];
/** What a message that can not be meant may be answered with; never INTERNAL, which would be our fault. */
const FAULTS = ['0', '3', '4', '5', '8'];

describe(`gRPC under fire (seed ${SEED})`, () => {
  it('answers mutated messages as the sender’s fault, or does what they say', async () => {
    const random = seeded(SEED);
    const raw = new RawGrpc(api.address);
    for (let i = 0; i < 600; i++) {
      const [method, message] = pick(random, SAMPLES);
      const body = frame(mutated(random, encodeRequest(method, message)));
      const { http, grpc, details } = await raw.send(`/inference.GRPCInferenceService/${method}`, body);
      expect(http, `${i}`).toBe(200);
      expect(FAULTS, `${i}: ${details}`).toContain(grpc);
    }
    raw.close();
    await lives(SEED);
  }, 60_000);

  it('lives through random bytes as messages, lengths, flags, encodings and headers', async () => {
    const random = seeded(SEED + 1);
    const raw = new RawGrpc(api.address);
    for (let i = 0; i < 300; i++) {
      const bytes = randomBytes(random, below(random, 400));
      const stated = pick(random, [bytes.length, 0, bytes.length + 1, 2 ** 31, 2 ** 32 - 1]);
      const headers = {
        'grpc-encoding': pick(random, ['identity', 'gzip', 'deflate', 'br', 'x'.repeat(50)]),
        'grpc-timeout': pick(random, ['1S', '99999999H', '-1m', 'x', '1u']),
        'x-odd-bin': randomBytes(random, 9)
          .toString('latin1')
          .replaceAll(/[^\x21-\x7e]/g, '!'),
      };
      const body = pick(random, [
        frame(bytes, below(random, 3), stated),
        bytes,
        Buffer.concat([frame(bytes), bytes]),
      ]);
      const path = pick(random, [
        INFER,
        STREAM,
        `${INFER}\u00e9`,
        '/',
        '/a/b',
        '/grpc.health.v1.Health/Check',
      ]);
      const { http } = await Promise.race([
        raw.send(path, body, headers),
        new Promise<{ http: string }>((_, reject) =>
          setTimeout(() => reject(new Error(`no end of ${path}, call ${i}, seed ${SEED}`)), 5_000).unref(),
        ),
      ]);
      if (raw.session.destroyed) throw new Error(`the connection broke at call ${i}`);
      expect([200, 415, undefined], `call ${i}`).toContain(http);
    }
    raw.close();
    await lives(SEED);
  }, 60_000);

  it('lives through random bytes and broken HTTP/2 frames on its connections', async () => {
    const random = seeded(SEED + 2);
    const port = Number(api.address.split(':')[1]);
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for (let i = 0; i < 120; i++) {
      const payload = randomBytes(random, below(random, 300));
      const head = Buffer.from([
        0,
        0,
        payload.length & 255,
        below(random, 12),
        below(random, 256),
        0,
        0,
        0,
        below(random, 4),
      ]);
      const sent = pick(random, [
        payload,
        Buffer.concat([preface, payload]),
        Buffer.concat([preface, settings, head, payload]),
      ]);
      await new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => undefined).once('close', () => resolve());
        socket.resume().once('connect', () => {
          if (below(random, 2) === 0) socket.write(sent, () => socket.resetAndDestroy());
          else socket.end(sent, () => setTimeout(() => socket.destroy(), 5));
        });
      });
    }
    await lives(SEED);
  }, 60_000);
});
