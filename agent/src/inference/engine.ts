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
import type { Backend, LoadedModel, Placement, Tensors } from './backend.ts';
import { RunStats } from './latency.ts';
import { type Answer, ModelQueue } from './model-queue.ts';
import type { Priority } from './request-queue.ts';
import { type InferenceStatistics, ModelStatistics } from './statistics.ts';
import { allFinite, checkInputs } from './tensors.ts';
import { tryBatch } from './try-batch.ts';

export interface EngineOptions {
  backend: Backend;
  clock: Clock;
  threads?: number;
  providers?: readonly string[];
  /** Requests that may wait for one model. */
  queueLimit?: number;
  /** Rows of one run of requests that came together; 1: each runs alone. */
  maxBatch?: number;
  /** Of a request that names none, and of any run. */
  timeoutMs?: Millis;
  /** What is different for one model, by name. */
  models?: Readonly<Record<string, ModelOptions>>;
}

export interface ModelOptions {
  placement?: Placement | undefined;
  threads?: number | undefined;
  maxBatch?: number | undefined;
}

export interface PredictOptions {
  timeoutMs?: Millis;
  /** Live readings go before requests of the local API. Default `live`. */
  priority?: Exclude<Priority, 'shadow'>;
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
  /** Rows that requests may share in one run; absent or 1: each runs alone. */
  readonly maxBatch?: number;
}

export interface EngineStatistics extends InferenceStatistics {
  /** Requests that wait now. */
  pending: number;
}

interface Running extends CurrentModel {
  readonly stats: RunStats;
  readonly statistics: ModelStatistics;
  readonly queue: ModelQueue;
}

const NO_STATS: ProbationStats = { inferences: 0, errors: 0, notFinite: 0, p95LatencyUs: 0 };

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

/** The engine's options with their defaults, those of one model over those of all. */
const optionsOf = ({ models, ...common }: EngineOptions, name: string) => ({
  threads: 1,
  providers: ['cpu'],
  queueLimit: 64,
  maxBatch: 32,
  timeoutMs: 30_000,
  ...common,
  ...models?.[name],
});

const described = (model: LoadedModel, batching: string): CurrentModel['loaded'] => ({
  ...{ sha256: model.sha256, provider: model.provider, placement: model.placement },
  ...(model.proof ? { proof: model.proof } : {}),
  ...{ reason: `${model.reason}; ${batching}`, inputs: model.inputs, outputs: model.outputs },
});

export class Engine implements ModelRuntime {
  readonly #models = new Map<string, Running>();
  readonly #options: EngineOptions;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** @throws SkeinError of {@link Backend.load}; the model that runs goes on running then. */
  async activate(staged: StagedModel): Promise<{ loaded: Sha256Hex }> {
    const { manifest } = staged;
    checkManifest(manifest);
    const running = await this.#load(staged);
    const before = this.#models.get(manifest.name);
    this.#models.set(manifest.name, running);
    if (before) void retire(before);
    return { loaded: running.loaded.sha256 };
  }

  async #load({ manifest, manifestSha256, variant, modelPath }: StagedModel): Promise<Running> {
    const { backend, clock } = this.#options;
    const { threads, providers, placement, maxBatch, queueLimit, timeoutMs } = this.#of(manifest.name);
    const model = await backend.load({
      path: modelPath,
      backend: variant.backend,
      model: manifest.name,
      ...(variant.format === undefined ? {} : { format: variant.format }),
      sha256: variant.file.sha256,
      sizeBytes: variant.file.size,
      threads,
      providers,
      placement,
    });
    try {
      checkDeclared(model, manifest);
    } catch (error) {
      await model.close();
      throw error;
    }
    const batching = await tryBatch(model, maxBatch, clock);
    const statistics = new ModelStatistics();
    const queueOptions = { clock, limit: queueLimit, maxBatch: batching.maxBatch, timeoutMs, statistics };
    const queue = new ModelQueue(model, queueOptions);
    const loaded = described(model, batching.reason);
    const own = { statistics, maxBatch: batching.maxBatch, stats: new RunStats() };
    return { manifest, manifestSha256, variant, loaded, queue, ...own };
  }

  #of(name: string) {
    return optionsOf(this.#options, name);
  }

  async deactivate(model: string): Promise<void> {
    const running = this.#models.get(model);
    this.#models.delete(model);
    if (running) await retire(running);
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

  /** What the model did since it was loaded, self-inferences included. undefined: it is not active. */
  statistics(model: string): EngineStatistics | undefined {
    const running = this.#models.get(model);
    return running && { ...running.statistics.snapshot(), pending: running.queue.waiting };
  }

  /**
   * The model is chosen when this is called.
   * @throws SkeinError NOT_FOUND, TENSOR_INVALID, OVERLOADED, MODEL_TIMEOUT, MODEL_CRASHED
   */
  async predict(model: string, inputs: Tensors, options: PredictOptions = {}): Promise<Prediction> {
    const running = this.#running(model);
    return this.#run(running, inputs, options, running.stats);
  }

  /** As {@link predict}, but no proof of anything: a self-inference must not help a model through its probation. */
  async probe(model: string, inputs: Tensors): Promise<Prediction> {
    return this.#run(this.#running(model), inputs, {}, undefined);
  }

  #running(model: string): Running {
    const running = this.#models.get(model);
    if (running) return running;
    throw new SkeinError('NOT_FOUND', `no model \`${model}\` is active`);
  }

  /** What the model did is counted even when its caller has given up; a caller's fault or a lost backend never is. */
  async #run(
    { loaded, queue, manifest }: Running,
    inputs: Tensors,
    { timeoutMs, priority = 'live' }: PredictOptions,
    stats: RunStats | undefined,
  ): Promise<Prediction> {
    checkInputs(inputs, loaded.inputs);
    let finite = true;
    const ran = (outcome: Answer | SkeinError): void => {
      if (outcome instanceof SkeinError) {
        if (outcome.blame !== 'environment') stats?.failed();
        return;
      }
      finite = allFinite(outcome.outputs);
      stats?.succeeded(outcome.totalUs, finite);
    };
    const { outputs, totalUs } = await queue.submit({ inputs, priority, timeoutMs, ran });
    return { outputs, version: manifest.version, sha256: loaded.sha256, latencyUs: totalUs, finite };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#models.keys()].map((model) => this.deactivate(model)));
  }
}

/** Answers what it has been handed first. A model that can not be closed any more is not in use either. */
const retire = ({ queue }: Running): Promise<void> => queue.close().catch(() => undefined);
