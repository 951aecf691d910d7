/** onnxruntime-node as anybody would use it, to compare with. */
import type { Tensors } from '@skein/agent/inference/backend.ts';
import { createSession, Tensor } from '@skein/agent/inference/onnx-runtime.ts';

/** @param inputs that every run computes on. */
export async function rawSession(bytes: Uint8Array, inputs: Tensors, threads = 1) {
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 4 as const };
  const session = await createSession(bytes, options);
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, { type, dims, data }]) => [
      name,
      new Tensor(type, data as Float32Array, dims),
    ]),
  );
  return { run: () => session.run(feeds), close: () => session.release() };
}
