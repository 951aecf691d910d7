/** The execution backends of a configuration: onnxruntime in this process, and servers on this machine. */
import type { Config } from '../config/schema.ts';
import { Backends } from '../inference/backends.ts';
import type { EngineOptions } from '../inference/engine.ts';
import { OipBackend, type OipBackendOptions } from '../inference/oip-backend.ts';
import { OnnxBackend } from '../inference/onnx-backend.ts';

/** As both the agent and its preflight child take them. */
export const backendOptions = (config: Pick<Config, 'backends'>): OipBackendOptions[] =>
  Object.entries(config.backends).map(([name, { timeout, loadTimeout, ...rest }]) => ({
    name,
    timeoutMs: timeout,
    loadTimeoutMs: loadTimeout,
    ...rest,
  }));

/** Queues, batches and comparisons, as the engine takes them. */
export function engineOptions({
  inference,
  shadows,
}: Pick<Config, 'inference' | 'shadows'>): Omit<EngineOptions, 'backend' | 'clock'> {
  const { threads, providers, maxBatch, queue, timeout, nonFinite, models } = inference;
  return { threads, providers, maxBatch, queueLimit: queue, timeoutMs: timeout, nonFinite, models, shadows };
}

/** @param blobKey of the model store, where it is encrypted @throws SkeinError CONFIG_INVALID */
export function openBackends(
  config: Pick<Config, 'backends' | 'inference'>,
  blobKey?: Uint8Array,
): Backends & { close(): void } {
  const { placement, timeout: defaultTimeoutMs } = config.inference;
  const servers = backendOptions(config).map(
    (options) =>
      new OipBackend({ ...options, blobKey, onFault: (fault) => all.changed(options.name, fault) }),
  );
  const all = new Backends(new OnnxBackend({ placement, defaultTimeoutMs, blobKey }), servers);
  return Object.assign(all, { close: () => servers.forEach((server) => void server.close()) });
}
