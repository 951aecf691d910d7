/** The runtime itself, with nothing of ours around it: what every way of running a model is measured against. */
import type { Tensors } from '../inference/backend.ts';
import { createSession, Tensor } from '../inference/onnx-runtime.ts';

export interface RawModel {
  run(): Promise<unknown>;
  close(): Promise<void>;
}

/** Feeds are made once; `run` is `session.run` and nothing else. @throws what the runtime throws */
export async function openRaw(
  bytes: Uint8Array,
  inputs: Tensors,
  options: { provider: string; threads: number },
): Promise<RawModel> {
  const session = await createSession(bytes, {
    executionProviders: [options.provider],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 4,
  });
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { type, dims, data }]) => [
      name,
      new Tensor(type, data as Float32Array, dims),
    ]),
  );
  return { run: () => session.run(feeds), close: () => session.release() };
}
