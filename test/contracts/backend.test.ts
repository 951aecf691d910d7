import { join } from 'node:path';
import { Backends } from '@skein/agent/inference/backends.ts';
import { OipBackend } from '@skein/agent/inference/oip-backend.ts';
import { OnnxBackend } from '@skein/agent/inference/onnx-backend.ts';
import { describe, expect, it } from 'vitest';
import { backendContract } from './backend.contract.ts';
import { startSidecar } from './sidecar-process.ts';

for (const placement of ['inline', 'worker'] as const)
  backendContract(`onnxruntime, ${placement}`, async () => ({
    backend: new OnnxBackend({ placement }),
    close: async () => undefined,
  }));

const sidecar = async (address: string) => {
  const process = await startSidecar(address);
  const backend = new OipBackend({ name: 'example', url: process.url });
  return {
    backend: { name: 'example', load: (request) => backend.load(request) },
    async close() {
      backend.close();
      await process.kill();
    },
  } satisfies Awaited<ReturnType<Parameters<typeof backendContract>[1]>>;
};
backendContract('oip, reference sidecar over a Unix socket', (directory) =>
  sidecar(`unix:${join(directory, 'example.sock')}`),
);
backendContract('oip, reference sidecar over loopback', () => sidecar('127.0.0.1:0'));
backendContract('dispatching by name', async (directory) => {
  const { backend, close } = await sidecar(`unix:${join(directory, 'example.sock')}`);
  const all = new Backends(new OnnxBackend({ placement: 'inline' }), [backend]);
  return { backend: { name: 'all', load: (r) => all.load({ ...r, backend: 'example' }) }, close };
});

describe('an unknown backend', () => {
  it('is a fact of this device, not a fault of the model', async () => {
    const all = new Backends(new OnnxBackend());
    expect(await all.facts('hailo')).toMatchObject({ fault: { code: 'BACKEND_UNAVAILABLE' } });
    const request = { path: '/x', sha256: 'a'.repeat(64), sizeBytes: 1, threads: 1, providers: ['cpu'] };
    await expect(all.load({ ...request, backend: 'hailo' })).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      blame: 'environment',
      message: expect.stringContaining('`hailo`'),
    });
  });

  it('of early manifests, `onnx`, is onnxruntime', async () => {
    expect(await new Backends(new OnnxBackend()).facts('onnx')).toMatchObject({ fault: null });
  });
});
