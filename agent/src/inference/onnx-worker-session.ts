/**
 * The main thread's end of one worker: starts it, rings its bell, waits for the answer, one request at a time.
 * A worker that dies or overruns its time is ended and rejects what it held; it can not be revived, its owner
 * starts another. (A fault inside the native runtime itself ends the whole process: preflight is where that is caught.)
 */
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { systemClock } from '../system-clock.ts';
import type { LoadRequest, Tensors } from './backend.ts';
import { Deadline } from './deadline.ts';
import {
  ANSWERS,
  ASKED,
  COMPUTE,
  CONTROL_BYTES,
  type FromWorker,
  type Loaded,
  REQUESTS,
  TOLD,
  type ToWorker,
} from './onnx-wire.ts';
import { SharedTensors } from './shared-tensors.ts';

interface Waiting {
  answered(message: FromWorker | undefined): void;
  reject(error: SkeinError): void;
  what: string;
  timeoutMs: Millis;
  deadline: Millis;
}

const LOAD_TIMEOUT_MS: Millis = 120_000;

export class OnnxWorkerSession {
  readonly #worker: Worker;
  readonly #control = new SharedArrayBuffer(CONTROL_BYTES);
  readonly #counters = new Int32Array(this.#control);
  readonly #times = new Float64Array(this.#control);
  readonly #port;
  readonly #deadline = new Deadline(systemClock, (now) => this.#overrun(now));
  #answered = 0;
  #waiting: Waiting | undefined;
  #input: SharedTensors | undefined;
  #output: SharedTensors | undefined;
  #ended: SkeinError | undefined;
  #whenIdle: (() => void) | undefined;
  loaded!: Loaded;

  private constructor(url: URL, request: LoadRequest) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const start = { control: this.#control, request, port: port2 };
    this.#worker = new Worker(url, { workerData: start, transferList: [port2], name: 'skein-inference' });
    this.#worker.on('error', (cause) => this.#end(`the inference worker failed: ${String(cause)}`, cause));
    this.#worker.on('exit', (code) => this.#end(`the inference worker ended with code ${code}`));
  }

  /** @throws SkeinError MODEL_INVALID, BLOB_MISMATCH, MODEL_CRASHED, MODEL_TIMEOUT */
  static async start(url: URL, request: LoadRequest): Promise<OnnxWorkerSession> {
    const session = new OnnxWorkerSession(url, request);
    const message = await new Promise<FromWorker | undefined>((answered, reject) =>
      session.#wait({ what: 'loading', timeoutMs: LOAD_TIMEOUT_MS, answered, reject }),
    );
    if (message?.kind !== 'loaded') {
      await session.#worker.terminate();
      throw toError(message);
    }
    session.loaded = message;
    return session;
  }

  /** It has given an answer since it was started. */
  get proven(): boolean {
    return this.#output !== undefined;
  }

  /** Time of the latest run in the runtime alone. */
  get computeMs(): Millis {
    return this.#times[COMPUTE]!;
  }

  get dead(): boolean {
    return this.#ended !== undefined;
  }

  /** @throws SkeinError MODEL_CRASHED, MODEL_TIMEOUT, INTERNAL when one is running already */
  run(inputs: Tensors, timeoutMs: Millis): Promise<Tensors> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      if (this.#waiting) return reject(new SkeinError('INTERNAL', 'a worker runs one inference at a time'));
      const moved = this.#place(inputs);
      const answered = (message: FromWorker | undefined) => {
        if (message && message.kind !== 'outputs') return reject(toError(message));
        if (message) this.#output = new SharedTensors(message.region);
        resolve(this.#output!.copy());
      };
      this.#wait({ what: 'inference', timeoutMs, answered, reject });
      this.#ring(moved);
    });
  }

  /** @returns what the worker must be told: that they lie elsewhere than before */
  #place(inputs: Tensors): ToWorker | undefined {
    const known = this.#input?.fits(inputs) ? this.#input : undefined;
    this.#input = known ?? SharedTensors.roomFor(inputs, this.#input);
    this.#input.write(inputs);
    return known ? undefined : { kind: 'inputs', region: this.#input.region };
  }

  #ring(message?: ToWorker): void {
    if (message) this.#port.postMessage(message);
    this.#counters[ASKED] = message ? 1 : 0;
    Atomics.add(this.#counters, REQUESTS, 1);
    Atomics.notify(this.#counters, REQUESTS);
  }

  /** Listens before anything is asked: the counter moves only after this. `answered` gets what came with the answer. */
  #wait(waiting: Omit<Waiting, 'deadline'>): void {
    const deadline = systemClock.mono() + waiting.timeoutMs;
    this.#waiting = { ...waiting, deadline };
    this.#deadline.watch(deadline);
    const change = Atomics.waitAsync(this.#counters, ANSWERS, this.#answered);
    if (change.async) void change.value.then(this.#settle);
    else this.#settle();
  }

  readonly #settle = (): void => {
    const waiting = this.#waiting;
    if (!waiting || this.#ended) return;
    this.#answered = (this.#answered + 1) | 0;
    this.#waiting = undefined;
    const news = this.#counters[TOLD] === 1 ? receiveMessageOnPort(this.#port) : undefined;
    waiting.answered(news?.message as FromWorker | undefined);
    this.#whenIdle?.();
  };

  #overrun(now: Millis): Millis | undefined {
    if (!this.#waiting || this.#waiting.deadline > now) return this.#waiting?.deadline;
    const { what, timeoutMs } = this.#waiting;
    this.#fail(new SkeinError('MODEL_TIMEOUT', `${what} took longer than ${timeoutMs} ms`));
    void this.#worker.terminate();
    return undefined;
  }

  #end(message: string, cause?: unknown): void {
    this.#fail(new SkeinError('MODEL_CRASHED', message, { cause }));
  }

  #fail(error: SkeinError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#deadline.stop();
    this.#port.close();
    // Lets go of who listens for an answer that will not come.
    Atomics.notify(this.#counters, ANSWERS);
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#whenIdle?.();
  }

  /** Lets a running inference finish first; ends the thread for good after `graceMs`. */
  async close(graceMs: Millis = 5_000): Promise<void> {
    if (this.#waiting) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#ring({ kind: 'close' });
    const timer = setTimeout(() => void this.#worker.terminate(), graceMs);
    await gone;
    clearTimeout(timer);
  }
}

function toError(message: FromWorker | undefined): SkeinError {
  if (message?.kind !== 'failed') return new SkeinError('INTERNAL', `unexpected answer ${message?.kind}`);
  return new SkeinError(message.code, message.message, message.fix ? { fix: message.fix } : {});
}
