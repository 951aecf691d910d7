/**
 * What stands before one loaded model: requests wait in order of priority, and whatever waits when the model becomes free
 * runs as one batch. Nothing is ever delayed to make a batch larger: an idle model runs a request at once, or, when it
 * runs on the caller's own thread and requests come together, at the end of this turn of the event loop.
 *
 * Time limits count from arrival. A request whose time runs out while it waits never runs; one that is running goes on,
 * its caller is told, and only the model's own limit ends it: no caller's hurry can kill a model that others use.
 * A batch that fails is tried again request by request, once, so that a bad request harms nobody but its sender.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { LoadedModel, Tensors } from './backend.ts';
import { joinRows, rowsOf, splitRows } from './batch.ts';
import { Deadline } from './deadline.ts';
import { type Priority, type Request, RequestQueue } from './request-queue.ts';
import { allFinite } from './tensors.ts';

/** Microseconds of one answered request. */
export interface Timing {
  queueUs: number;
  inputUs: number;
  inferUs: number;
  outputUs: number;
}

export interface Answer extends Timing {
  outputs: Tensors;
  /** No output is NaN or infinite. */
  finite: boolean;
  /** From arrival. */
  totalUs: number;
}

/** What is counted; `statistics.ts` has the same words. */
export interface QueueStatistics {
  requestSucceeded(request: Timing & { totalUs: number }, rows: number, at: Millis): void;
  requestFailed(request: { queueUs: number; totalUs: number }): void;
  executed(run: { batchSize: number } & Omit<Timing, 'queueUs'>): void;
}

export interface QueueOptions {
  clock: Clock;
  /** Requests that may wait. */
  limit: number;
  /** Rows of one run; 1: no batching. */
  maxBatch: number;
  /** Of a request that names none, and of any run. */
  timeoutMs: Millis;
  statistics: QueueStatistics;
}

export interface Submission {
  inputs: Tensors;
  priority: Priority;
  timeoutMs?: Millis | undefined;
  /** Called once if it ran, also when its caller has gone by then. */
  ran?: ((outcome: Answer | SkeinError) => void) | undefined;
}

interface Waiting extends Request, Pick<Submission, 'ran'> {
  readonly timeoutMs: Millis;
  resolve(answer: Answer): void;
  reject(error: SkeinError): void;
  /** Its caller has been told. */
  told: boolean;
}

/** Of one call of the model, monotonic. */
interface RunTimes {
  began: Millis;
  joined: Millis;
  inferred: Millis;
}

export class ModelQueue {
  readonly #model: LoadedModel;
  readonly #options: QueueOptions;
  readonly #waiting: RequestQueue<Waiting>;
  readonly #deadline: Deadline;
  #maxBatch: number;
  readonly #running = new Set<readonly Waiting[]>();
  readonly #parallel: number;
  /** Runs scheduled or going on; at most {@link #parallel}. */
  #runs = 0;
  #whenIdle: (() => void) | undefined;

  constructor(model: LoadedModel, options: QueueOptions) {
    this.#model = model;
    this.#options = options;
    this.#maxBatch = options.maxBatch;
    this.#parallel = model.parallel ?? 1;
    this.#waiting = new RequestQueue(options.limit);
    this.#deadline = new Deadline(options.clock, (now) => this.#expire(now));
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** @param submission inputs are checked. @throws SkeinError OVERLOADED, MODEL_TIMEOUT and those of {@link LoadedModel.infer} */
  submit({ inputs, priority, timeoutMs, ran }: Submission): Promise<Answer> {
    const arrived = this.#options.clock.mono();
    const limit = timeoutMs ?? this.#options.timeoutMs;
    return new Promise((resolve, reject) => {
      const rows = this.#maxBatch > 1 ? rowsOf(inputs) : undefined;
      const deadline = arrived + limit;
      const request: Waiting = {
        inputs,
        priority,
        ran,
        rows,
        arrived,
        deadline,
        timeoutMs: limit,
        told: false,
        resolve,
        reject,
      };
      const out = this.#waiting.add(request);
      if (out) this.#fail(out, this.#overloaded(out === request));
      if (out === request) return;
      if (this.#runs >= this.#parallel) this.#deadline.watch(request.deadline);
      else {
        this.#runs++;
        this.#start();
      }
    });
  }

  #overloaded(itself: boolean): SkeinError {
    const { limit } = this.#options;
    const what = itself ? `${limit} requests are waiting already` : 'a live reading took its place';
    return new SkeinError('OVERLOADED', what, {
      fix: 'Send requests more slowly, or use a smaller model or a faster device.',
    });
  }

  #start(): void {
    if (this.#model.gather) this.#model.gather(() => this.#next());
    else this.#next();
  }

  /** Takes what waits and runs it. @returns how many requests that is */
  #next(): number {
    const { clock } = this.#options;
    for (const late of this.#waiting.expired(clock.mono())) this.#fail(late, tooLate(late, 'waiting'));
    const batch = this.#waiting.take(this.#maxBatch);
    void this.#work(batch);
    return batch.length;
  }

  async #work(batch: readonly Waiting[]): Promise<void> {
    this.#running.add(batch);
    if (batch.length > 0) await this.#run(batch);
    this.#running.delete(batch);
    if (this.#waiting.size > 0) return this.#start();
    if (--this.#runs === 0) this.#whenIdle?.();
  }

  /** Never rejects. */
  async #run(batch: readonly Waiting[]): Promise<void> {
    const next = this.#waiting.size > 0 ? this.#waiting.nextDeadline() : Number.POSITIVE_INFINITY;
    this.#deadline.watch(batch.reduce((earliest, { deadline }) => Math.min(earliest, deadline), next));
    const { clock, timeoutMs } = this.#options;
    const began = clock.mono();
    try {
      const inputs = batch.length > 1 ? joinRows(batch.map((request) => request.inputs)) : batch[0]!.inputs;
      const joined = clock.mono();
      const outputs = await this.#model.infer(inputs, timeoutMs);
      this.#answer(batch, outputs, { began, joined, inferred: clock.mono() });
    } catch (thrown) {
      const error = asSkeinError(thrown, 'MODEL_CRASHED');
      if (batch.length > 1) await this.#runSingly(batch, error);
      else this.#failRun(batch[0]!, error);
    }
  }

  async #runSingly(batch: readonly Waiting[], error: SkeinError): Promise<void> {
    // The graph does not give row for row what it was asked: it never was one to batch.
    if (error.code === 'MODEL_INVALID') this.#maxBatch = 1;
    for (const request of batch) {
      if (request.told) this.#failRun(request, error);
      else await this.#run([request]);
    }
  }

  /** @throws SkeinError MODEL_INVALID when the outputs are not row for row those of the batch */
  #answer(batch: readonly Waiting[], outputs: Tensors, { began, joined, inferred }: RunTimes): void {
    const { clock, statistics } = this.#options;
    const rowsOfEach = batch.map(({ rows = 1 }) => rows);
    const parts = batch.length > 1 ? splitRows(outputs, rowsOfEach) : [outputs];
    const ended = clock.mono();
    const at = clock.now();
    const inputUs = micros(joined - began);
    const inferUs = micros(inferred - joined);
    const outputUs = micros(ended - inferred);
    for (const [i, request] of batch.entries()) {
      const [queueUs, totalUs] = [micros(began - request.arrived), micros(ended - request.arrived)];
      const part = parts[i]!;
      const answer = { queueUs, inputUs, inferUs, outputUs, totalUs, outputs: part, finite: allFinite(part) };
      request.ran?.(answer);
      // Whether the timer or the answer is heard of first must not decide.
      if (ended > request.deadline) this.#fail(request, tooLate(request, 'running'));
      if (request.told) continue;
      statistics.requestSucceeded(answer, rowsOfEach[i]!, at);
      request.told = true;
      request.resolve(answer);
    }
    statistics.executed({ batchSize: sumOf(rowsOfEach), inputUs, inferUs, outputUs });
  }

  #failRun(request: Waiting, error: SkeinError): void {
    request.ran?.(error);
    this.#fail(request, error);
  }

  #fail(request: Waiting, error: SkeinError): void {
    if (request.told) return;
    request.told = true;
    const waited = micros(this.#options.clock.mono() - request.arrived);
    this.#options.statistics.requestFailed({ queueUs: waited, totalUs: waited });
    request.reject(error);
  }

  /** Tells everyone whose time is up. @returns the next deadline */
  #expire(now: Millis): Millis | undefined {
    for (const late of this.#waiting.expired(now)) this.#fail(late, tooLate(late, 'waiting'));
    let next = this.#waiting.nextDeadline();
    for (const request of [...this.#running].flat()) {
      if (request.told) continue;
      if (request.deadline <= now) this.#fail(request, tooLate(request, 'running'));
      else next = Math.min(next, request.deadline);
    }
    return Number.isFinite(next) ? next : undefined;
  }

  /** Answers all that has been submitted, then closes the model. */
  async close(): Promise<void> {
    if (this.#runs > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#deadline.stop();
    await this.#model.close();
  }
}

const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

const micros = (ms: Millis): number => Math.round(ms * 1000);

const tooLate = ({ timeoutMs }: Waiting, doing: 'waiting' | 'running'): SkeinError =>
  new SkeinError(
    'MODEL_TIMEOUT',
    doing === 'waiting'
      ? `the request waited ${timeoutMs} ms for its turn and was not run`
      : `no answer within ${timeoutMs} ms`,
    { fix: 'Allow more time, send fewer requests at once, or use a smaller model.', data: { doing } },
  );
