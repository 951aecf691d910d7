/**
 * The main thread's end of one worker: starts it, rings its bell, waits for the answer, one request at a time.
 * A worker that dies or overruns its time is ended and rejects what it held; it can not be revived, its owner
 * starts another. (A fault inside the native runtime itself ends the whole process: preflight is where that is caught.)
 */
import { MessageChannel, Worker } from 'node:worker_threads';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { LoadRequest, Tensors } from './backend.ts';
import type { FromWorker, Loaded, ToWorker } from './onnx-wire.ts';
import { fitsLayout, type Layout, layoutOf, readTensors, writeTensors } from './tensors.ts';

interface Waiting {
  resolve(message: FromWorker): void;
  reject(error: Error): void;
}

interface Region {
  layout: Layout;
  buffer: SharedArrayBuffer;
}

const LOAD_TIMEOUT_MS: Millis = 120_000;

export class OnnxWorkerSession {
  readonly #worker: Worker;
  readonly #bell = new Int32Array(new SharedArrayBuffer(4));
  readonly #port;
  #waiting: Waiting | undefined;
  #input: Region | undefined;
  #output: Region | undefined;
  #ended: SkeinError | undefined;
  /** Settles, never rejects, when the inference that runs has been answered. */
  #running: Promise<void> = Promise.resolve();
  loaded!: Loaded;

  private constructor(url: URL, request: LoadRequest) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const start = { control: this.#bell.buffer, request, port: port2 };
    this.#worker = new Worker(url, { workerData: start, transferList: [port2], name: 'skein-inference' });
    this.#worker.on('message', (message: FromWorker) => this.#settle(message));
    this.#worker.on('error', (cause) => this.#end(`the inference worker failed: ${String(cause)}`, cause));
    this.#worker.on('exit', (code) => this.#end(`the inference worker ended with code ${code}`));
  }

  /** @throws SkeinError MODEL_INVALID, BLOB_MISMATCH, MODEL_CRASHED, MODEL_TIMEOUT */
  static async start(url: URL, request: LoadRequest): Promise<OnnxWorkerSession> {
    const session = new OnnxWorkerSession(url, request);
    const message = await session.#wait(LOAD_TIMEOUT_MS, 'loading');
    if (message.kind !== 'loaded') {
      await session.#worker.terminate();
      throw toError(message);
    }
    session.loaded = message;
    return session;
  }

  get dead(): boolean {
    return this.#ended !== undefined;
  }

  /** @throws SkeinError MODEL_CRASHED, MODEL_TIMEOUT, INTERNAL when one is running already */
  async run(inputs: Tensors, timeoutMs: Millis): Promise<Tensors> {
    if (this.#ended) throw this.#ended;
    if (this.#waiting) throw new SkeinError('INTERNAL', 'a worker runs one inference at a time');
    this.#place(inputs);
    const answer = this.#wait(timeoutMs, 'inference');
    Atomics.add(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
    this.#running = answer.then(
      () => undefined,
      () => undefined,
    );
    const message = await answer;
    if (message.kind === 'outputs') this.#output = message;
    else if (message.kind !== 'same') throw toError(message);
    return readTensors(this.#output!.layout, this.#output!.buffer, true);
  }

  #place(inputs: Tensors): void {
    if (!this.#input || !fitsLayout(inputs, this.#input.layout)) {
      const layout = layoutOf(inputs);
      const old = this.#input?.buffer;
      const buffer = old && old.byteLength >= layout.bytes ? old : new SharedArrayBuffer(layout.bytes);
      this.#input = { layout, buffer };
      this.#post({ kind: 'inputs', layout, buffer });
    }
    writeTensors(inputs, this.#input.layout, this.#input.buffer);
  }

  #post(message: ToWorker): void {
    this.#port.postMessage(message);
  }

  #wait(timeoutMs: Millis, what: string): Promise<FromWorker> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new SkeinError('MODEL_TIMEOUT', `${what} took longer than ${timeoutMs} ms`);
        this.#fail(error);
        void this.#worker.terminate();
      }, timeoutMs);
      const done = <T>(act: (value: T) => void) => {
        return (value: T) => {
          clearTimeout(timer);
          this.#waiting = undefined;
          act(value);
        };
      };
      this.#waiting = { resolve: done(resolve), reject: done(reject) };
    });
  }

  #settle(message: FromWorker): void {
    this.#waiting?.resolve(message);
  }

  #end(message: string, cause?: unknown): void {
    this.#fail(new SkeinError('MODEL_CRASHED', message, { cause }));
  }

  #fail(error: SkeinError): void {
    this.#ended ??= error;
    this.#port.close();
    this.#waiting?.reject(error);
  }

  /** Lets a running inference finish first; ends the thread for good after `graceMs`. */
  async close(graceMs: Millis = 5_000): Promise<void> {
    await this.#running;
    if (this.#ended) return;
    const gone = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#post({ kind: 'close' });
    Atomics.add(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
    const timer = setTimeout(() => void this.#worker.terminate(), graceMs);
    await gone;
    clearTimeout(timer);
  }
}

function toError(message: FromWorker): SkeinError {
  if (message.kind !== 'failed') return new SkeinError('INTERNAL', `unexpected answer ${message.kind}`);
  return new SkeinError(message.code, message.message, message.fix ? { fix: message.fix } : {});
}
