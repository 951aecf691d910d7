/**
 * A model on an inference server. A server that restarted has forgotten it: the next inference loads it again and proves
 * its hash again before it is believed. While the server is away inferences fail at once, and it is tried again after
 * 0.5 s, 1 s, … at most 30 s.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { TensorSpec } from '@skein/protocol/manifest.ts';
import { type Bytes, KIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { Compiling, LoadedModel, Tensors } from './backend.ts';
import { LateReply, type OipClient, type OipReply } from './oip-client.ts';
import { inferRefusal, isForgotten } from './oip-faults.ts';
import type { OipLoaded } from './oip-load.ts';
import { inferBody, readInferAnswer } from './oip-tensor-body.ts';
import { checkInputs } from './tensors.ts';

const ALIVE_MS: Millis = SECOND;
const BUSY_IN_A_ROW = 3;
const UNLOAD_MS: Millis = 5 * SECOND;

export const unload = (client: OipClient, name: string): Promise<unknown> =>
  client
    .exchange({
      method: 'POST',
      path: `/v2/repository/models/${name}/unload`,
      control: true,
      timeoutMs: UNLOAD_MS,
      maxBytes: 64 * KIB,
    })
    .catch(() => undefined);

export interface Serving {
  /** Hears what an exchange said of the server; null: it works. */
  told: { told(thrown: unknown): void; tell(fault: null): void };
  client: OipClient;
  name: string;
  start(compiling?: Compiling): Promise<OipLoaded>;
  options: {
    name: string;
    url: string;
    timeoutMs: Millis;
    maxAnswerBytes: Bytes;
    queueLimit: number;
    connections: number;
  };
}

export class OipModel implements LoadedModel {
  readonly placement = 'sidecar';
  readonly reason: string;
  readonly sha256;
  readonly proof;
  readonly provider;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly parallel;
  readonly #on: Serving;
  readonly #released: () => void;
  #version: string | null;
  #inFlight = 0;
  #closed = false;
  /** Set while the server must load the model again before it is asked. */
  #lost = false;
  #again: Promise<void> | undefined;
  #failures = 0;
  #busy = 0;
  #notBefore = 0;

  constructor(on: Serving, loaded: OipLoaded, released: () => void) {
    ({ sha256: this.sha256, proof: this.proof, provider: this.provider } = loaded);
    ({ inputs: this.inputs, outputs: this.outputs } = loaded);
    this.parallel = on.options.connections;
    this.#version = loaded.version;
    this.#on = on;
    this.#released = released;
    const whose = this.proof === 'sent' ? 'hash of the bytes sent' : 'hash said by the sidecar';
    this.reason = `${on.options.name} at ${on.options.url}; ${whose}`;
  }

  async infer(inputs: Tensors, callerMs: Millis = Number.POSITIVE_INFINITY): Promise<Tensors> {
    checkInputs(inputs, this.inputs);
    if (this.#closed) throw new SkeinError('BACKEND_UNAVAILABLE', 'the model was closed');
    if (this.#inFlight >= this.#on.options.queueLimit)
      throw new SkeinError('OVERLOADED', `${this.#inFlight} inferences are waiting already`, {
        fix: 'Send readings more slowly, or use a smaller model or a faster device.',
      });
    this.#inFlight++;
    try {
      return await this.#inferOrReload(inputs, Math.min(callerMs, this.#on.options.timeoutMs));
    } finally {
      this.#inFlight--;
    }
  }

  async #inferOrReload(inputs: Tensors, timeoutMs: Millis): Promise<Tensors> {
    const until = performance.now() + timeoutMs;
    if (this.#lost) await this.#reloadBy(until);
    let reply = await this.#ask(inputs, until);
    if (isForgotten(reply)) {
      this.#lost = true;
      await this.#reloadBy(until);
      reply = await this.#ask(inputs, until);
    }
    if (reply.status !== 200) throw this.#refused(inferRefusal(this.#on.options.name, reply));
    const { name } = this.#on;
    const asked = { model: name, version: this.#version, sha256: this.sha256, outputs: this.outputs };
    try {
      const outputs = readInferAnswer(asked, reply.headers, reply.body);
      this.#busy = 0;
      this.#on.told.tell(null);
      return outputs;
    } catch (thrown) {
      // Another model, or another version, under our name: what is loaded there is not known any more.
      this.#lost = true;
      throw this.#noted(thrown);
    }
  }

  async #ask(inputs: Tensors, until: Millis): Promise<OipReply> {
    const { client, name, options } = this.#on;
    const { headers, parts } = inferBody(inputs, this.outputs);
    try {
      return await client.exchange({
        method: 'POST',
        path: `/v2/models/${name}/infer`,
        body: parts,
        headers,
        timeoutMs: Math.max(1, until - performance.now()),
        maxBytes: options.maxAnswerBytes,
      });
    } catch (thrown) {
      if (thrown instanceof LateReply) throw await this.#late();
      if (asSkeinError(thrown).code === 'BACKEND_UNAVAILABLE') this.#lost = true;
      throw this.#noted(thrown);
    }
  }

  /** A server that still says that it lives waits for the model; one that does not hangs itself. */
  async #late(): Promise<SkeinError> {
    const { client, options } = this.#on;
    const alive = await client
      .exchange({ path: '/v2/health/live', control: true, timeoutMs: ALIVE_MS, maxBytes: 64 * KIB })
      .then(({ status }) => status === 200)
      .catch(() => false);
    if (alive) return new SkeinError('MODEL_TIMEOUT', `backend ${options.name} gave no answer in time`);
    return this.#noted(
      new SkeinError(
        'BACKEND_UNAVAILABLE',
        `backend ${options.name} hangs: no answer, not even to /v2/health/live`,
        {
          fix: `Restart the service behind \`backends.${options.name}\`.`,
        },
      ),
    ) as SkeinError;
  }

  /** A full queue that empties at once is no incident. */
  #refused(error: SkeinError): unknown {
    if (error.code === 'BACKEND_BUSY' && ++this.#busy < BUSY_IN_A_ROW) return error;
    return this.#noted(error);
  }

  #noted(thrown: unknown): unknown {
    this.#on.told.told(thrown);
    return thrown;
  }

  /** A server that compiles again takes longer than an inference may: the load goes on, the inference does not wait. */
  async #reloadBy(until: Millis): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const words = `backend ${this.#on.options.name} loads the model again`;
      timer = setTimeout(
        () => reject(new SkeinError('BACKEND_UNAVAILABLE', words)),
        Math.max(1, until - performance.now()),
      );
    });
    const again = this.#reload();
    again.catch(() => undefined);
    await Promise.race([again, late]).finally(() => clearTimeout(timer));
  }

  /** One at a time for all who wait; after a failure not again before its pause is over. */
  #reload(): Promise<void> {
    const now = performance.now();
    if (!this.#again && now < this.#notBefore)
      return Promise.reject(
        new SkeinError(
          'BACKEND_UNAVAILABLE',
          `backend ${this.#on.options.name} is away; tried again in ${Math.ceil((this.#notBefore - now) / 1000)} s`,
        ),
      );
    this.#again ??= this.#loadAgain().finally(() => {
      this.#again = undefined;
    });
    return this.#again;
  }

  async #loadAgain(): Promise<void> {
    try {
      const loaded = await this.#on.start();
      if (JSON.stringify([loaded.inputs, loaded.outputs]) !== JSON.stringify([this.inputs, this.outputs]))
        throw new SkeinError('BACKEND_FAULT', `${this.#on.name} takes other tensors than before`);
      this.#version = loaded.version;
      this.#lost = false;
      this.#failures = 0;
      this.#on.told.tell(null);
    } catch (thrown) {
      await unload(this.#on.client, this.#on.name);
      this.#notBefore = performance.now() + Math.min(30 * SECOND, 500 * 2 ** this.#failures++);
      // It did load before, from the same bytes: what fails now is around it.
      const { code, message } = asSkeinError(thrown);
      const other = code === 'MODEL_INVALID' || code === 'MODEL_CRASHED';
      throw this.#noted(other ? new SkeinError('BACKEND_FAULT', message, { cause: thrown }) : thrown);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await unload(this.#on.client, this.#on.name);
    this.#released();
  }
}
