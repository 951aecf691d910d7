/**
 * onnxruntime in this process. Where a model runs is measured, not guessed: a tiny one is tried on the caller's thread, any
 * other is loaded and warmed up in a worker; when the p99 of its own run lies below `inlineBelowMs` the worker's hop
 * would cost more than it saves and the model moves to the caller's thread. A worker that dies is started again at the next
 * inference, at most `maxRestarts` times in a row without an answer, then once every `restartAfterMs`.
 */
import { performance } from 'node:perf_hooks';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { type Bytes, KIB, type Millis } from '@skein/protocol/units.ts';
import type { Backend, LoadedModel, LoadRequest, Placement, Tensors } from './backend.ts';
import { type OnnxSession, openSession } from './onnx-session.ts';
import { OnnxWorkerSession } from './onnx-worker-session.ts';
import { checkInputs, elementCount } from './tensors.ts';
import { turnGatherer } from './turn-gatherer.ts';
import { quickHere } from './warm-up.ts';

export interface OnnxBackendOptions {
  /** Of models that name none themselves; `auto` measures. */
  placement?: Placement;
  /** Warm-up p99 below this runs inline. */
  inlineBelowMs?: Millis;
  defaultTimeoutMs?: Millis;
  /** The worker's program; a bundled release names its own. */
  workerUrl?: URL;
  /** Of the model store, where it is encrypted. */
  blobKey?: Uint8Array | undefined;
}

type Options = Required<Omit<OnnxBackendOptions, 'blobKey'>> & OnnxBackendOptions;

const SOURCE_WORKER = new URL('./onnx-worker.ts', import.meta.url);
const MAX_RESTARTS = 3;
const RESTART_AFTER_MS: Millis = 10_000;

const described = (session: Pick<OnnxSession, 'sha256' | 'provider' | 'inputs' | 'outputs'>) => ({
  sha256: session.sha256,
  provider: session.provider,
  inputs: session.inputs,
  outputs: session.outputs,
});

/** Runs on the caller's thread, so a time limit could not interrupt it: only models measured as tiny come here. */
const inlineModel = (session: OnnxSession, reason: string): LoadedModel => ({
  ...described(session),
  placement: 'inline',
  reason,
  gather: turnGatherer((task) => void setImmediate(task)),
  infer: (inputs: Tensors) => session.run(inputs),
  close: () => session.close(),
});

/** A file and inputs this small are tried where they will run: starting a worker to learn it costs a third of a start. */
const TINY_FILE: Bytes = 256 * KIB;
const TINY_INPUTS = 16_384;

const mono = (): Millis => performance.now();
const aTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const elementsOf = (specs: readonly TensorSpec[]): number =>
  specs.reduce((sum, { shape }) => sum + elementCount(shape.map((dim) => Math.max(1, dim))), 0);

const inlineBecause = (p99Ms: Millis, limitMs: Millis): string =>
  `inline: warm-up p99 ${p99Ms.toFixed(3)} ms is below ${limitMs} ms`;

/** @returns undefined when the model is too large to be tried here, or turns out too slow */
async function tryHere(request: LoadRequest, inlineBelowMs: Millis): Promise<LoadedModel | undefined> {
  if (request.sizeBytes > TINY_FILE) return undefined;
  const session = await openSession(request);
  const small = elementsOf(session.inputs) <= TINY_INPUTS;
  const p99Ms = small ? await quickHere(session, mono, inlineBelowMs, aTurn) : undefined;
  if (p99Ms !== undefined)
    return inlineModel(session, `${session.reason}; ${inlineBecause(p99Ms, inlineBelowMs)}`);
  await session.close();
  return undefined;
}

class WorkerModel implements LoadedModel {
  readonly placement = 'worker';
  readonly reason: string;
  readonly sha256;
  readonly provider;
  readonly inputs;
  readonly outputs;
  readonly #timeoutMs: Millis;
  readonly #start: () => Promise<OnnxWorkerSession>;
  #session: OnnxWorkerSession;
  #crashes = 0;
  #lastStart = performance.now();
  #closed = false;

  constructor(
    session: OnnxWorkerSession,
    start: () => Promise<OnnxWorkerSession>,
    reason: string,
    options: Options,
  ) {
    ({ sha256: this.sha256, provider: this.provider } = session.loaded);
    ({ inputs: this.inputs, outputs: this.outputs } = session.loaded);
    this.reason = reason;
    this.#session = session;
    this.#start = start;
    this.#timeoutMs = options.defaultTimeoutMs;
  }

  async infer(inputs: Tensors, timeoutMs: Millis = this.#timeoutMs): Promise<Tensors> {
    checkInputs(inputs, this.inputs);
    if (this.#session.dead) await this.#restart();
    return this.#session.run(inputs, timeoutMs);
  }

  get computeMs(): Millis {
    return this.#session.computeMs;
  }

  async #restart(): Promise<void> {
    if (this.#closed) throw new SkeinError('MODEL_CRASHED', 'the model was closed');
    this.#crashes = this.#session.proven ? 1 : this.#crashes + 1;
    if (this.#crashes > MAX_RESTARTS && performance.now() - this.#lastStart < RESTART_AFTER_MS) {
      throw new SkeinError('MODEL_CRASHED', `the inference worker died ${this.#crashes - 1} times in a row`, {
        fix: 'Roll the model back; the agent tries again every 10 s.',
      });
    }
    this.#lastStart = performance.now();
    this.#session = await this.#start();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#session.close();
  }
}

export class OnnxBackend implements Backend {
  readonly name = 'onnxruntime';
  readonly #options: Options;

  constructor(options: OnnxBackendOptions = {}) {
    this.#options = {
      placement: 'auto',
      inlineBelowMs: 0.5,
      defaultTimeoutMs: 30_000,
      workerUrl: SOURCE_WORKER,
      ...options,
    };
  }

  async load(wanted: LoadRequest): Promise<LoadedModel> {
    const { blobKey, inlineBelowMs, workerUrl } = this.#options;
    const request = blobKey ? { ...wanted, blobKey } : wanted;
    const placement = request.placement ?? this.#options.placement;
    if (placement === 'inline') {
      const session = await openSession(request);
      return inlineModel(session, `${session.reason}; inline as configured`);
    }
    if (placement === 'auto') {
      const tiny = await tryHere(request, inlineBelowMs);
      if (tiny) return tiny;
    }
    const start = () => OnnxWorkerSession.start(workerUrl, request);
    const session = await start();
    const { p99Ms, reason } = session.loaded;
    const measured = p99Ms === undefined ? 'warm-up failed' : `warm-up p99 ${p99Ms.toFixed(3)} ms`;
    if (placement === 'auto' && p99Ms !== undefined && p99Ms < inlineBelowMs) {
      await session.close();
      const why = `${reason}; ${inlineBecause(p99Ms, inlineBelowMs)}`;
      return inlineModel(await openSession(request), why);
    }
    const why = placement === 'worker' ? 'worker as configured' : `worker: ${measured}`;
    return new WorkerModel(session, start, `${reason}; ${why}`, this.#options);
  }
}
