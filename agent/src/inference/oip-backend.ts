/**
 * Any Open Inference Protocol v2 server over a Unix socket or loopback: Triton, or a sidecar for Hailo, RKNN, Coral.
 *
 * A model is loaded under a name of its own, `skein-ROLE-MODEL-HASH-N`, so that the new one of a swap stands beside the
 * old and an answer shows whose it is (oip-model.ts). Whatever the server does is this machine's affair, never held
 * against a model, but for two things: it says that the model fails, or it is alive and the model gives no answer in time.
 */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import { checker } from '@skein/protocol/schema.ts';
import { type Bytes, KIB, MIB, type Millis, SECOND } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import type { Backend, BackendFacts, Compiling, LoadedModel, LoadRequest } from './backend.ts';
import { LateReply, OipClient } from './oip-client.ts';
import { type LoadWay, loadInto } from './oip-load.ts';
import { maybe } from './oip-maybe.ts';
import { OipModel, unload } from './oip-model.ts';

export interface OipBackendOptions {
  name: string;
  /** `unix:/run/NAME.sock` or `http://127.0.0.1:PORT`. */
  url: string;
  load?: LoadWay;
  /** Of one inference. */
  timeoutMs?: Millis;
  /** Of a load, compiling included. */
  loadTimeoutMs?: Millis;
  maxAnswerBytes?: Bytes;
  /** Requests at once; more wait, up to `queueLimit` a model. */
  connections?: number;
  queueLimit?: number;
  /** What the server is, where it does not say so itself. */
  target?: string;
  sdk?: string;
  /** Of the model store, where it is encrypted. */
  blobKey?: Uint8Array | undefined;
  /** `run`: the agent. `try`: a preflight beside it. Each forgets only its own leftovers. */
  role?: 'run' | 'try';
  /** Told whenever the server becomes unusable (with the reason) or usable again (null). */
  onFault?(fault: BackendFacts['fault']): void;
}

const FACTS_MS: Millis = 2 * SECOND;
const MAX_SWEPT = 64;

const ServerMetadata = checker(
  Type.Object({
    name: maybe(Type.String()),
    version: maybe(Type.String()),
    skein: maybe(
      Type.Object({
        target: maybe(Type.String({ maxLength: 64 })),
        sdk: maybe(Type.String({ maxLength: 64 })),
        fault: maybe(Type.Object({ code: Type.String(), error: maybe(Type.String()) })),
      }),
    ),
  }),
  'BACKEND_FAULT',
  64 * KIB,
);
const Index = checker(Type.Array(Type.Object({ name: Type.String() })), 'BACKEND_FAULT', MIB);

export class OipBackend implements Backend {
  readonly name: string;
  readonly #options: Required<Omit<OipBackendOptions, 'target' | 'sdk' | 'blobKey'>> & OipBackendOptions;
  readonly #client: OipClient;
  readonly #held = new Set<string>();
  #swept: Promise<void> | undefined;
  #fault = '';

  /** @throws SkeinError CONFIG_INVALID */
  constructor(options: OipBackendOptions) {
    this.#options = {
      load: 'sidecar',
      timeoutMs: 30 * SECOND,
      loadTimeoutMs: 1_800 * SECOND,
      maxAnswerBytes: 64 * MIB,
      connections: 4,
      queueLimit: 64,
      role: 'run',
      onFault: () => undefined,
      ...options,
    };
    this.name = options.name;
    this.#client = new OipClient(options.name, options.url, this.#options.connections);
  }

  async facts(): Promise<BackendFacts> {
    const { target = null, sdk = null } = this.#options;
    let facts: BackendFacts;
    try {
      const reply = await this.#client.exchange({
        path: '/v2',
        control: true,
        timeoutMs: FACTS_MS,
        maxBytes: 64 * KIB,
      });
      if (reply.status !== 200) throw new SkeinError('BACKEND_FAULT', `GET /v2 answers ${reply.status}`);
      const { skein } = ServerMetadata.parse(reply.body, `backend ${this.name}`);
      facts = { target: skein?.target ?? target, sdk: skein?.sdk ?? sdk, fault: faultOf(skein?.fault) };
    } catch (thrown) {
      const late = thrown instanceof LateReply;
      const { code, message } = asSkeinError(thrown, late ? 'BACKEND_UNAVAILABLE' : 'BACKEND_FAULT');
      facts = { target, sdk, fault: { code, detail: message } };
    }
    // A server that talks well of itself may still answer wrongly: only work that succeeds clears that.
    if (facts.fault || !this.#fault.startsWith('BACKEND_FAULT')) this.tell(facts.fault);
    return facts;
  }

  async load(wanted: LoadRequest, compiling?: Compiling): Promise<LoadedModel> {
    const { blobKey } = this.#options;
    const request = blobKey ? { ...wanted, blobKey } : wanted;
    this.#swept ??= this.#sweep(request);
    await this.#swept;
    const name = this.#freeName(request);
    this.#held.add(name);
    const start = (watch?: Compiling) =>
      loadInto(this.#client, this.name, this.#options.load, name, request, this.#options, watch);
    try {
      const loaded = await start(compiling);
      this.tell(null);
      const model = { told: this, client: this.#client, name, start, options: this.#options };
      return new OipModel(model, loaded, () => this.#held.delete(name));
    } catch (thrown) {
      // It may be at work with it still, or hold other bytes under this name: the next try begins anew.
      await unload(this.#client, name);
      this.#held.delete(name);
      this.told(thrown);
      throw thrown;
    }
  }

  /** Notes what an exchange said of the server. */
  told(thrown: unknown): void {
    if (thrown instanceof SkeinError && thrown.blame === 'environment' && thrown.code !== 'OVERLOADED')
      this.tell({ code: thrown.code, detail: thrown.message });
  }

  tell(fault: BackendFacts['fault']): void {
    const said = fault ? `${fault.code} ${fault.detail}` : '';
    if (said === this.#fault) return;
    this.#fault = said;
    this.#options.onFault(fault);
  }

  close(): void {
    this.#client.close();
  }

  #freeName({ model = 'model', sha256 }: LoadRequest): string {
    const stem = `skein-${this.#options.role}-${model}-${sha256.slice(0, 12)}`;
    for (let n = 0; ; n++) if (!this.#held.has(`${stem}-${n}`)) return `${stem}-${n}`;
  }

  /**
   * What an earlier life left loaded takes memory that the next load needs. There is one agent, but preflights of several
   * models may run side by side: each forgets its own model's.
   */
  async #sweep({ model = 'model' }: LoadRequest): Promise<void> {
    const { role } = this.#options;
    const stem = role === 'run' ? 'skein-run-' : `skein-try-${model}-`;
    const ours = (name: string) => name.startsWith(stem) && /-[0-9a-f]{12}-\d+$/.test(name);
    try {
      const index = { method: 'POST', control: true, timeoutMs: FACTS_MS, maxBytes: MIB } as const;
      const reply = await this.#client.exchange({ ...index, path: '/v2/repository/index' });
      if (reply.status !== 200) return;
      const names = Index.parse(reply.body, 'repository index').map(({ name }) => name);
      const left = names.filter((name) => ours(name) && !this.#held.has(name));
      for (const name of left.slice(0, MAX_SWEPT)) await unload(this.#client, name);
    } catch {
      // The load that follows says what is wrong.
      this.#swept = undefined;
    }
  }
}

const SIDE_FAULTS: readonly ErrorCode[] = ['DRIVER_MISMATCH', 'BACKEND_BUSY', 'BACKEND_UNAVAILABLE'];
function faultOf(said: { code: string; error?: string | null } | null | undefined): BackendFacts['fault'] {
  if (!said) return null;
  const code = SIDE_FAULTS.find((known) => known === said.code) ?? 'BACKEND_UNAVAILABLE';
  return { code, detail: (said.error ?? said.code).slice(0, 400) };
}
