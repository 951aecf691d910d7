/**
 * The running models of one device, by name.
 *
 * Swapping: the new model is loaded beside the old one, then the name is pointed at it between two inferences. Those
 * already handed to the old model are answered by it, under its version; it is closed when the last has been.
 * So no inference is dropped and no answer carries a wrong version.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { checkManifest } from '@skein/protocol/manifest-check.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import { type ModelRuntime, NO_STATS, type ProbationStats, type StagedModel } from '../update/ports.ts';
import type { Backend, Compiling, Placement, Tensors } from './backend.ts';
import type { Priority } from './request-queue.ts';
import { type CurrentModel, type EngineStatistics, RunningModel } from './running-model.ts';
import { type Challenger, type Given, Shadow, type ShadowOptions, type ShadowStatus } from './shadow.ts';
import { allFinite } from './tensors.ts';

export type { CurrentModel, EngineStatistics } from './running-model.ts';

/** reject: INPUT_NOT_FINITE. flag: {@link Prediction.inputsFinite} says so. All are counted. */
export const NON_FINITE = ['reject', 'pass', 'flag'] as const;
export type NonFinite = (typeof NON_FINITE)[number];

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
  /** Of API requests whose tensors hold NaN or an infinity; a pipeline's readings follow their manifest. */
  nonFinite?: NonFinite;
  /** What is different for one model, by name. */
  models?: Readonly<Record<string, ModelOptions>>;
  /** Models that are compared with others on the same inputs. */
  shadows?: readonly ShadowOptions[];
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
  /** False when the policy is to flag and an input of an API request is NaN or infinite. */
  inputsFinite: boolean;
}

const DEFAULTS = { threads: 1, providers: ['cpu'], queueLimit: 64, maxBatch: 32, timeoutMs: 30_000 };

export class Engine implements ModelRuntime {
  readonly #models = new Map<string, RunningModel>();
  readonly #options: EngineOptions;
  readonly #shadows: readonly { of: ShadowOptions; shadow: Shadow }[];

  constructor(options: EngineOptions) {
    this.#options = options;
    const { shadows = [], clock } = options;
    this.#shadows = shadows.map((of) => ({ of, shadow: new Shadow(of, clock) }));
  }

  /** @throws SkeinError of {@link Backend.load}; the model that runs goes on running then. */
  async activate(staged: StagedModel, compiling?: Compiling): Promise<{ loaded: Sha256Hex }> {
    const { manifest } = staged;
    checkManifest(manifest);
    const options = this.#optionsOf(manifest.name);
    const running = await RunningModel.load(staged, this.#options.backend, options, compiling);
    const before = this.#models.get(manifest.name);
    this.#models.set(manifest.name, running);
    if (before) void before.retire();
    return { loaded: running.loaded.sha256 };
  }

  /** Those of one model over those of all. A challenger must not hold this thread, whatever else is said. */
  #optionsOf(name: string) {
    const { models, backend: _, shadows, nonFinite, ...common } = this.#options;
    const background = shadows?.some(({ challenger }) => challenger === name) ?? false;
    const own = Object.fromEntries(
      Object.entries(models?.[name] ?? {}).filter(([, value]) => value !== undefined),
    ) as ModelOptions;
    const placement = background ? 'worker' : own.placement;
    return { ...DEFAULTS, ...common, ...own, placement, background };
  }

  async deactivate(model: string): Promise<void> {
    const running = this.#models.get(model);
    this.#models.delete(model);
    await running?.retire();
  }

  current(model: string): CurrentModel | undefined {
    return this.#models.get(model);
  }

  models(): CurrentModel[] {
    return [...this.#models.values()];
  }

  stats(model: string): ProbationStats {
    return this.#models.get(model)?.stats() ?? NO_STATS;
  }

  /** What the model did since it was loaded, self-inferences included. undefined: it is not active. */
  statistics(model: string): EngineStatistics | undefined {
    return this.#models.get(model)?.statistics();
  }

  shadows(): ShadowStatus[] {
    return this.#shadows.map(({ shadow }) => shadow.snapshot());
  }

  /**
   * The model is chosen when this is called.
   * @throws SkeinError NOT_FOUND, TENSOR_INVALID, INPUT_NOT_FINITE, OVERLOADED, MODEL_TIMEOUT, MODEL_CRASHED
   */
  async predict(model: string, inputs: Tensors, options: PredictOptions = {}): Promise<Prediction> {
    const { timeoutMs, priority = 'live' } = options;
    const running = this.#running(model);
    const inputsFinite = priority === 'live' || this.#admit(running, inputs);
    const answer = await running.infer(inputs, { priority, timeoutMs, proof: true, inputsFinite });
    this.#compare(running, inputs, answer);
    return prediction(running, answer, inputsFinite || this.#options.nonFinite !== 'flag');
  }

  /** As {@link predict}, but no proof of anything: a self-inference must not help a model through its probation. */
  async probe(model: string, inputs: Tensors): Promise<Prediction> {
    const running = this.#running(model);
    return prediction(running, await running.infer(inputs, { priority: 'live', proof: false }), true);
  }

  #running(model: string): RunningModel {
    const running = this.#models.get(model);
    if (running) return running;
    throw new SkeinError('NOT_FOUND', `no model \`${model}\` is active`);
  }

  /** @returns whether all inputs are finite. @throws SkeinError INPUT_NOT_FINITE */
  #admit(running: RunningModel, inputs: Tensors): boolean {
    const name = Object.keys(inputs).find((input) => !allFinite({ input: inputs[input]! }));
    if (name === undefined) return true;
    running.inputsNotFinite++;
    if (this.#options.nonFinite === 'pass' || this.#options.nonFinite === 'flag') return false;
    throw new SkeinError('INPUT_NOT_FINITE', `input \`${name}\` holds NaN or an infinity`, {
      fix: 'Fill what is missing before it is sent, or set `inference.nonFinite` to pass or flag.',
    });
  }

  /** Shows challengers what has been answered. */
  #compare(running: RunningModel, inputs: Tensors, given: Given): void {
    for (const { of, shadow } of this.#shadows)
      if (of.model === running.manifest.name) shadow.observe(running, inputs, given, this.#challenger(of));
  }

  /** A comparison is a real inference on live inputs: it counts in the challenger's probation. */
  #challenger({ challenger }: ShadowOptions): Challenger | undefined {
    const running = this.#models.get(challenger);
    if (!running) return undefined;
    const { manifest, threads } = running;
    return {
      manifest,
      threads,
      run: (inputs) => running.infer(inputs, { priority: 'shadow', proof: true }),
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#models.keys()].map((model) => this.deactivate(model)));
  }
}

const prediction = (
  { manifest, loaded }: RunningModel,
  { outputs, totalUs, finite }: Awaited<ReturnType<RunningModel['infer']>>,
  inputsFinite: boolean,
): Prediction => ({
  outputs,
  version: manifest.version,
  sha256: loaded.sha256,
  latencyUs: totalUs,
  finite,
  inputsFinite,
});
