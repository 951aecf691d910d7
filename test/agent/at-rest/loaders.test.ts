/** Whoever loads a model loads an encrypted one too: this process, a worker, the preflight's child, and servers beside. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blobCipher } from '@skein/agent/at-rest/node-blob-cipher.ts';
import type { LoadRequest } from '@skein/agent/inference/backend.ts';
import { OipBackend } from '@skein/agent/inference/oip-backend.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { childPreflight } from '@skein/agent/update/child-preflight.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import type { Slots, StagedModel } from '@skein/agent/update/ports.ts';
import type { GoldenVectors } from '@skein/protocol/manifest.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scaleModel } from '../inference/models.ts';
import { json, scriptedServer } from '../inference/scripted-server.ts';
import { manifestFor } from '../update/manifest.ts';

const KEY = randomBytes(32);
const model = scaleModel(2, 3);
const golden: GoldenVectors = {
  format: 1,
  vectors: [
    { inputs: { x: { shape: [1, 2], data: [1, 2] } }, outputs: { y: { shape: [1, 2], data: [3, 6] } } },
  ],
};
const goldenBytes = Buffer.from(JSON.stringify(golden));
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
let directory: string;
let slots: Slots;
let staged: StagedModel;
let request: LoadRequest;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'skein-loaders-'));
  slots = await openDiskSlots({ directory, cipher: blobCipher(KEY) });
  for (const bytes of [model, goldenBytes]) {
    const writer = await slots.writer(hashOf(bytes), bytes.length);
    await writer.write(bytes);
    await writer.finish();
  }
  const manifest = manifestFor(
    '1.0.0',
    { sha256: hashOf(model), size: model.length },
    { sha256: hashOf(goldenBytes), size: goldenBytes.length },
  );
  const [modelPath, goldenPath] = [model, goldenBytes].map((bytes) => slots.pathOf(hashOf(bytes))) as [
    string,
    string,
  ];
  staged = {
    manifest,
    manifestSha256: 'c'.repeat(64),
    variant: manifest.variants[0]!,
    modelPath,
    goldenPath,
  };
  request = {
    ...{ path: modelPath, sha256: hashOf(model), sizeBytes: model.length },
    ...{ threads: 1, providers: ['cpu'], backend: 'onnxruntime' },
  };
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('an encrypted model', () => {
  it.each(['inline', 'worker'] as const)(
    'runs %s, proven by the hash of its bytes in clear',
    async (placement) => {
      const loaded = await new OnnxBackend({ placement, blobKey: KEY }).load(request);
      const { y } = await loaded.infer({ x: { type: 'float32', dims: [1, 2], data: Float32Array.of(1, 2) } });
      expect([loaded.sha256, [...(y!.data as Float32Array)]]).toEqual([hashOf(model), [3, 6]]);
      await loaded.close();
    },
  );

  it('passes its preflight in a child that is given the key', async () => {
    expect(await childPreflight({ blobKey: KEY }).run(staged)).toMatchObject({
      ...{ ok: true, loaded: hashOf(model), golden: { passed: 1, total: 1 } },
    });
  });

  it('is no fault of the model where the key is not there, and no damage of the disk', async () => {
    const verdict = await childPreflight().run(staged);
    expect(verdict).toMatchObject({ ok: false, code: 'DATA_KEY_NEEDED', environment: true });
    const refused = new OnnxBackend({ placement: 'inline', blobKey: randomBytes(32) }).load(request);
    await expect(refused).rejects.toMatchObject({ code: 'DATA_KEY_WRONG' });
    expect(await slots.has(hashOf(model))).toBe(true);
  });

  it('is shown in clear, in memory, to a sidecar that loads it by its path, and no longer than that', async () => {
    const server = await scriptedServer(hashOf(model));
    const seen: { path: string; hash: string }[] = [];
    const answer = server.on.load;
    server.on.load = (call, response) => {
      const { path } = (JSON.parse(call.body.toString()) as { parameters: { path: string } }).parameters;
      seen.push({ path, hash: hashOf(readFileSync(path)) });
      answer(call, response);
    };
    const backend = new OipBackend({ name: 'beside', url: server.url, blobKey: KEY });
    const loaded = await backend.load(request);
    server.on.load = (call, response) => {
      seen.push({
        path: (JSON.parse(call.body.toString()) as { parameters: { path: string } }).parameters.path,
        hash: '',
      });
      json(500, { error: 'no' })(call, response);
    };
    await expect(backend.load(request)).rejects.toThrow();
    expect(seen.map(({ hash }) => hash)).toEqual([hashOf(model), '']);
    for (const { path } of seen) expect([path === request.path, existsSync(path)]).toEqual([false, false]);
    await loaded.close();
    backend.close();
    await server.close();
  });

  it('is sent in clear to a repository', async () => {
    const server = await scriptedServer(hashOf(model));
    const backend = new OipBackend({ name: 'triton', url: server.url, load: 'repository', blobKey: KEY });
    const loaded = await backend.load(request);
    const sent = server.calls.find(({ path }) => path.endsWith('/load'))!;
    const { parameters } = JSON.parse(sent.body.toString()) as { parameters: Record<string, string> };
    expect(Buffer.from(parameters['file:1/model.onnx']!, 'base64').equals(model)).toBe(true);
    await loaded.close();
    backend.close();
    await server.close();
  });
});
