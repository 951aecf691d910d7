/**
 * onnxruntime that keeps to itself. Its official builds for Linux report to their maker which models run (names of files
 * and graphs, hashes of the weights) and keep an identity and a database for that in the home folder, unless this
 * variable is set before the first session (since 1.29: pull request 27379 of microsoft/onnxruntime). Whoever wants a
 * session gets it here; a worker has a copy of its parent's environment, so the parent must have this too.
 */
import { env, InferenceSession, listSupportedBackends, Tensor } from 'onnxruntime-node';

process.env.ORT_DISABLE_TELEMETRY = '1';

/** Blocks this thread. @throws what the runtime says of the model */
export function createSession(
  model: Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  env.logLevel = 'fatal';
  return InferenceSession.create(model, options);
}

/** A package loads it when it is first used. @throws when there is none for this machine */
export const loadRuntime = (): void => void listSupportedBackends();

export { type InferenceSession, Tensor };
