/**
 * The running models of one device, by name.
 *
 * Swapping: the new model is loaded beside the old one, then the name is pointed at it between two inferences. Those
 * already handed to the old model are answered by it, under its version; it is closed when the last has been.
 * So no inference is dropped and no answer carries a wrong version.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest, TensorSpec, Variant } from '@skein/protocol/manifest.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { ModelRuntime, ProbationStats, StagedModel } from '../update/ports.ts';
import type { Backend, LoadedModel, Tensors } from './backend.ts';
import { RunStats } from './latency.ts';
import { allFinite } from './tensors.ts';

export interface EngineOptions {
  backend: Backend;
  clock: Clock;
  threads?: number;
  providers?: readonly string[];
}

export interface PredictOptions {
  timeoutMs?: Millis;
  /** Live readings go before requests of the local API. Default `live`. */
  priority?: 'live' | 'api';
}

export interface Prediction {
  outputs: Tensors;
  version: string;
  sha256: Sha256Hex;
  latencyUs: number;
  /** No output is NaN or infinite. */
  finite: boolean;
}

/** What runs under a name now. */
export interface CurrentModel {
  readonly manifest: Manifest;
  readonly manifestSha256: Sha256Hex;
  readonly variant: Variant;
  readonly loaded: Pick<
    LoadedModel,
    'sha256' | 'proof' | 'provider' | 'placement' | 'reason' | 'inputs' | 'outputs'
  >;
}

interface Running extends CurrentModel {
  readonly loaded: LoadedModel;
  readonly stats: RunStats;
  inFlight: number;
  retired: boolean;
}

const NO_STATS: ProbationStats = { inferences: 0, errors: 0, notFinite: 0, p95LatencyUs: 0 };

/** A model that can not be closed any more is not in use either. */
const closeQuietly = (model: LoadedModel): Promise<void> => model.close().catch(() => undefined);

const fits = (found: TensorSpec, declared: TensorSpec): boolean =>
  found.type === declared.type &&
  found.shape.length === declared.shape.length &&
  found.shape.every((dim, axis) => dim < 0 || declared.shape[axis]! < 0 || dim === declared.shape[axis]);

/** The file takes and gives what its manifest says. @throws SkeinError MODEL_INVALID */
function checkDeclared(loaded: LoadedModel, manifest: Manifest): void {
  const pairs = [
    [manifest.inputs, loaded.inputs],
    [manifest.outputs, loaded.outputs],
  ] as const;
  for (const [declared, found] of pairs) {
    const odd = declared.find(
      (spec) => !found.some((tensor) => tensor.name === spec.name && fits(tensor, spec)),
    );
    if (!odd && found.length >= declared.length) continue;
    throw new SkeinError(
      'MODEL_INVALID',
      `the file has no tensor \`${odd?.name}\` as the manifest declares it`,
      {
        fix: 'Pack the model again: manifest and file disagree.',
      },
    );
  }
}

export class Engine implements ModelRuntime {
  readonly #models = new Map<string, Running>();
  readonly #options: EngineOptions;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** @throws SkeinError of {@link Backend.load}; the model that runs goes on running then. */
  async activate(staged: StagedModel): Promise<{ loaded: Sha256Hex }> {
    const { manifest, manifestSha256, variant, modelPath } = staged;
    checkManifest(manifest);
    const loaded = await this.#options.backend.load({
      path: modelPath,
      backend: variant.backend,
      model: manifest.name,
      ...(variant.format === undefined ? {} : { format: variant.format }),
      sha256: variant.file.sha256,
      sizeBytes: variant.file.size,
      threads: this.#options.threads ?? 1,
      providers: this.#options.providers ?? ['cpu'],
    });
    try {
      checkDeclared(loaded, manifest);
    } catch (error) {
      await loaded.close();
      throw error;
    }
    const before = this.#models.get(manifest.name);
    const stats = new RunStats();
    this.#models.set(manifest.name, {
      manifest,
      manifestSha256,
      variant,
      loaded,
      stats,
      inFlight: 0,
      retired: false,
    });
    if (before) this.#retire(before);
    return { loaded: loaded.sha256 };
  }

  async deactivate(model: string): Promise<void> {
    const running = this.#models.get(model);
    this.#models.delete(model);
    if (running) await this.#retire(running);
  }

  current(model: string): CurrentModel | undefined {
    return this.#models.get(model);
  }

  models(): CurrentModel[] {
    return [...this.#models.values()];
  }

  stats(model: string): ProbationStats {
    return this.#models.get(model)?.stats.snapshot() ?? NO_STATS;
  }

  /** The model is chosen when this is called. @throws SkeinError NOT_FOUND and those of {@link LoadedModel.infer} */
  async predict(model: string, inputs: Tensors, options: PredictOptions = {}): Promise<Prediction> {
    const running = this.#running(model);
    return this.#run(running, inputs, running.stats, options.timeoutMs);
  }

  /** As {@link predict}, but no proof of anything: a self-inference must not help a model through its probation. */
  async probe(model: string, inputs: Tensors): Promise<Prediction> {
    return this.#run(this.#running(model), inputs, undefined);
  }

  #running(model: string): Running {
    const running = this.#models.get(model);
    if (running) return running;
    throw new SkeinError('NOT_FOUND', `no model \`${model}\` is active`);
  }

  async #run(
    running: Running,
    inputs: Tensors,
    stats: RunStats | undefined,
    timeoutMs?: Millis,
  ): Promise<Prediction> {
    const { clock } = this.#options;
    const started = clock.mono();
    running.inFlight++;
    try {
      const outputs = await running.loaded.infer(inputs, timeoutMs);
      const latencyUs = Math.round((clock.mono() - started) * 1000);
      const finite = allFinite(outputs);
      stats?.succeeded(latencyUs, finite);
      return {
        outputs,
        version: running.manifest.version,
        sha256: running.loaded.sha256,
        latencyUs,
        finite,
      };
    } catch (error) {
      // A caller's bad tensor, an overfull queue or a lost backend say nothing about the model.
      const others =
        error instanceof SkeinError && (error.code === 'TENSOR_INVALID' || error.blame === 'environment');
      if (!others) stats?.failed();
      throw error;
    } finally {
      running.inFlight--;
      if (running.retired && running.inFlight === 0) await closeQuietly(running.loaded);
    }
  }

  async #retire(running: Running): Promise<void> {
    running.retired = true;
    if (running.inFlight === 0) await closeQuietly(running.loaded);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#models.keys()].map((model) => this.deactivate(model)));
  }
}
