/** One activation of a model: what was loaded, the queue before it, and what has been counted since. */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest, Variant } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { ProbationStats, StagedModel } from '../update/ports.ts';
import type { Backend, Compiling, LoadedModel, Placement, Tensors } from './backend.ts';
import { checkDeclared } from './declared.ts';
import { RunStats } from './latency.ts';
import { type Answer, ModelQueue } from './model-queue.ts';
import type { Priority } from './request-queue.ts';
import { type InferenceStatistics, ModelStatistics } from './statistics.ts';
import { checkInputs } from './tensors.ts';
import { type Batching, tryBatch } from './try-batch.ts';

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
  /** API requests with NaN or infinities among their inputs, whatever the policy did with them. */
  inputsNotFinite: number;
}

export interface RunningOptions {
  clock: Clock;
  threads: number;
  providers: readonly string[];
  queueLimit: number;
  maxBatch: number;
  timeoutMs: Millis;
  placement?: Placement | undefined;
  /** Nobody waits for its answers. */
  background: boolean;
}

export interface InferOptions {
  priority: Priority;
  timeoutMs?: Millis | undefined;
  /** False: a self-inference, which must not help a model through its probation. */
  proof: boolean;
  /** False: an answer that is not finite says nothing about the model. */
  inputsFinite?: boolean;
}

const described = (model: LoadedModel, batching: Batching): CurrentModel['loaded'] => ({
  ...{ sha256: model.sha256, provider: model.provider, placement: model.placement },
  ...(model.proof ? { proof: model.proof } : {}),
  ...{ reason: `${model.reason}; ${batching.reason}`, inputs: model.inputs, outputs: model.outputs },
});

export class RunningModel implements CurrentModel {
  readonly manifest: Manifest;
  readonly manifestSha256: Sha256Hex;
  readonly variant: Variant;
  readonly loaded: CurrentModel['loaded'];
  readonly maxBatch: number;
  readonly threads: number;
  /** API requests; see {@link EngineStatistics}. */
  inputsNotFinite = 0;
  readonly #queue: ModelQueue;
  readonly #stats = new RunStats();
  readonly #statistics = new ModelStatistics();

  private constructor(staged: StagedModel, model: LoadedModel, batching: Batching, options: RunningOptions) {
    ({ manifest: this.manifest, manifestSha256: this.manifestSha256, variant: this.variant } = staged);
    this.loaded = described(model, batching);
    this.maxBatch = batching.maxBatch;
    this.threads = options.threads;
    const { clock, queueLimit: limit, timeoutMs } = options;
    const { maxBatch } = batching;
    this.#queue = new ModelQueue(model, { clock, limit, maxBatch, timeoutMs, statistics: this.#statistics });
  }

  /** @throws SkeinError of {@link Backend.load}, MODEL_INVALID when the file is not what its manifest says */
  static async load(
    staged: StagedModel,
    backend: Backend,
    options: RunningOptions,
    compiling?: Compiling,
  ): Promise<RunningModel> {
    const { manifest, variant, modelPath } = staged;
    const { threads, providers, placement, background } = options;
    const request = {
      path: modelPath,
      backend: variant.backend,
      model: manifest.name,
      ...(variant.format === undefined ? {} : { format: variant.format }),
      sha256: variant.file.sha256,
      sizeBytes: variant.file.size,
      ...{ threads, providers, background, placement },
    };
    const model = await backend.load(request, compiling);
    try {
      checkDeclared(model, manifest);
    } catch (error) {
      await model.close();
      throw error;
    }
    return new RunningModel(staged, model, await tryBatch(model, options.maxBatch, options.clock), options);
  }

  stats(): ProbationStats {
    return this.#stats.snapshot();
  }

  statistics(): EngineStatistics {
    const { inputsNotFinite } = this;
    return { ...this.#statistics.snapshot(), pending: this.#queue.waiting, inputsNotFinite };
  }

  /**
   * What the model did is counted even when its caller has given up; a caller's fault or a lost backend never is.
   * @throws SkeinError at once TENSOR_INVALID, later OVERLOADED, MODEL_TIMEOUT, MODEL_CRASHED
   */
  infer(inputs: Tensors, { priority, timeoutMs, proof, inputsFinite = true }: InferOptions): Promise<Answer> {
    checkInputs(inputs, this.loaded.inputs);
    const stats = proof ? this.#stats : undefined;
    const ran = (outcome: Answer | SkeinError): void => {
      // The run itself: what waited before it, or a busy event loop, is not the model's fault.
      if (!(outcome instanceof SkeinError))
        stats?.succeeded(outcome.inferUs, outcome.finite || !inputsFinite);
      else if (outcome.blame !== 'environment') stats?.failed();
    };
    return this.#queue.submit({ inputs, priority, timeoutMs, ran });
  }

  /** Answers what it has been handed first. A model that can not be closed any more is not in use either. */
  retire(): Promise<void> {
    return this.#queue.close().catch(() => undefined);
  }
}
