/**
 * The device under attack: the real update machine, its shell and trust client over a disk that outlives crashes. What the
 * attacker sends comes through the real bounds of the HTTP adapter. Nothing here looks at what is loaded: the oracle does.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { readBody } from '@skein/agent/identity/http-exchange.ts';
import { installedIn } from '@skein/agent/update/barred.ts';
import { boundedBody, PATIENT } from '@skein/agent/update/http-blob.ts';
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { HOUR, type Millis, SECOND } from '@skein/protocol/units.ts';
import type {
  Fetcher,
  ModelRuntime,
  Preflight,
  StagedModel,
  Trust,
} from '../../../agent/src/update/ports.ts';
import { UpdateRunner } from '../../../agent/src/update/run-update.ts';
import { TrustClient } from '../../../agent/src/update/trust-client.ts';
import {
  type Judged,
  pinnedState,
  type TrustState,
  type TrustStore,
} from '../../../agent/src/update/trust-state.ts';
import { sha256 } from '../../protocol/trust/simulated-repository.ts';
import { SimDisk, simSlots, simUpdateStore } from '../disk.ts';
import type { Chance } from '../seeded.ts';
import type { VirtualTime } from '../virtual-time.ts';
import { HARDWARE, VICTIM } from './honest.ts';
import type { Oracle } from './oracle.ts';

/** How an answer comes: whole, without end, a byte at a time, or never. */
export type Answer = { bytes: Uint8Array | undefined } | { flow: 'endless' | 'trickle' | 'cut' };

/** Whoever answers the device: the honest server, or an attacker in its place. */
export interface Upstream {
  document(path: string): Answer;
  blob(sha256: string): Answer;
}

export interface VictimParts {
  time: VirtualTime;
  chance: Chance;
  oracle: Oracle;
  upstream: Upstream;
  verify: Verify;
  roots: readonly [Uint8Array, Uint8Array];
}

const POLL_MS: Millis = 6 * HOUR;
const quiet = { info() {}, warn() {}, error() {} };
const GOLDEN = { passed: 4, total: 4 };

export class Victim {
  readonly disk = new SimDisk();
  readonly #parts: VictimParts;
  #kept: TrustState;
  #judged: Judged | undefined;
  #runner: UpdateRunner | undefined;
  #life = 0;
  #ran: Millis = 0;
  /** What its wall clock is wrong by. */
  clockOffMs: Millis = 0;
  /** Codes of the refreshes that failed, in order. */
  readonly failures: string[] = [];

  constructor(parts: VictimParts) {
    this.#parts = parts;
    this.#kept = pinnedState(...parts.roots);
  }

  get wall(): Millis {
    return this.#parts.time.wall + this.clockOffMs;
  }

  get runner(): UpdateRunner | undefined {
    return this.#runner;
  }

  /** The phase of a model's machine, for people. */
  phaseOf(model: string): string {
    return this.#state(model)?.phase.name ?? 'unknown';
  }

  boot(): void {
    const life = ++this.#life;
    const alive = () => this.#life === life;
    const { time, oracle, chance, upstream } = this.#parts;
    const clock: Clock = { ...time.clock(alive), now: () => this.wall };
    oracle.restarted(this.#kept);
    const fetcher = fetcherOver(upstream, time, clock, alive);
    const runner = new UpdateRunner({
      fetcher,
      slots: simSlots(this.disk),
      trust: this.#trust(fetcher, clock, alive),
      preflight: this.#preflight(alive),
      runtime: this.#runtime(alive, clock),
      store: whileAlive(simUpdateStore(this.disk), alive),
      reports: {
        report(report) {
          if (!alive()) throw new Error('this process has ended');
          oracle.reported(report);
        },
      },
      clock,
      entropy: chance.entropy(),
      log: quiet,
    });
    this.#runner = runner;
    void runner.start().then(() => (alive() ? runner.refresh() : undefined));
    const poll = () => {
      clock.after(POLL_MS, poll);
      void runner.refresh();
    };
    clock.after(POLL_MS, poll);
  }

  /** The power goes. The guarded part of the trust state survives; cached documents may be torn or be older ones again. */
  crash(older: readonly (readonly [string, Uint8Array])[] = []): void {
    this.#life++;
    this.#runner = undefined;
    const { chance } = this.#parts;
    this.disk.crash(chance);
    const torn = (role: string, bytes: Uint8Array): Uint8Array => {
      const others = older.filter(([name]) => name === role);
      if (chance.is(0.6)) return bytes;
      return others.length > 0 && chance.is(0.5)
        ? chance.pick(others)[1]
        : bytes.slice(0, chance.below(bytes.length));
    };
    const { image, director } = this.#kept.documents;
    const documents = Object.fromEntries(
      Object.entries(image).map(([role, bytes]) => [role, torn(role, bytes)]),
    );
    this.#kept = {
      ...this.#kept,
      documents: { image: documents, ...(director ? { director: torn('director', director) } : {}) },
    };
  }

  refresh(): Promise<void> {
    return this.#runner?.refresh() ?? Promise.resolve();
  }

  #state = (model: string) => this.#runner?.states().find((s) => s.model === model);

  #trust(fetcher: Fetcher, clock: Clock, alive: () => boolean): Trust {
    const { oracle, verify } = this.#parts;
    const store: TrustStore = {
      load: () => this.#kept,
      judged: () => this.#judged,
      commit: (state, judged) => {
        if (!alive()) throw new Error('this process has ended');
        this.#kept = state;
        this.#judged = judged;
        oracle.committed(state);
      },
      pin() {},
    };
    const keys = ed25519Keys(verify);
    const installed = () => installedIn(simUpdateStore(this.disk));
    const who = { device: VICTIM, hardwareTags: HARDWARE, installed };
    const client = new TrustClient({ fetcher, store, clock, keys, ...who });
    return {
      spokenAgainst: () => client.spokenAgainst(),
      view: () => client.view(),
      refresh: async () => {
        const wall = this.wall;
        try {
          const view = await client.refresh();
          for (const { code } of view.refused) oracle.failed(code);
          oracle.refreshed(this.#kept, wall, clock.mono());
          return view;
        } catch (thrown) {
          const { code } = asSkeinError(thrown);
          this.failures.push(code);
          oracle.failed(code);
          throw thrown;
        }
      },
    };
  }

  #preflight(alive: () => boolean): Preflight {
    const { time, chance } = this.#parts;
    return {
      run: async (model) => {
        await time.wait(chance.between(500, 4_000));
        if (!alive()) return new Promise(() => {});
        const loaded = this.#hashOf(model.variant.file.sha256);
        return { ok: true, code: null, detail: null, loaded, golden: GOLDEN, environment: false };
      },
    };
  }

  #runtime(alive: () => boolean, clock: Clock): ModelRuntime {
    const { time, chance } = this.#parts;
    return {
      activate: async (model) => {
        await time.wait(chance.between(50, 400));
        if (!alive()) return new Promise(() => {});
        this.#ran = time.now;
        return { loaded: this.#tell(model, clock) };
      },
      deactivate: async () => {},
      stats: () => {
        const inferences = Math.floor((time.now - this.#ran) / SECOND);
        return { inferences, errors: 0, notFinite: 0, p95LatencyUs: 700, p95AtLeastUs: 600 };
      },
    };
  }

  #tell({ manifest, manifestSha256, variant }: StagedModel, clock: Clock): string {
    const phase = this.#state(manifest.name)?.phase;
    const loaded = this.#hashOf(variant.file.sha256);
    this.#parts.oracle.loaded({
      model: manifest.name,
      manifestSha256: this.#hashOf(manifestSha256),
      modelSha256: loaded,
      order: phase?.name === 'activating' ? phase.agreed.order.id : undefined,
      at: { wall: this.wall, mono: clock.mono() },
    });
    return loaded;
  }

  #hashOf(name: string): string {
    const bytes = this.disk.blobs.get(name);
    if (!bytes) throw new SkeinError('NOT_FOUND', `blob ${name} is not on this disk`);
    return sha256(bytes);
  }
}

const whileAlive = (store: ReturnType<typeof simUpdateStore>, alive: () => boolean) => ({
  ...store,
  save(model: string, state: string) {
    if (!alive()) throw new Error('this process has ended');
    store.save(model, state);
  },
});

const CHUNK = 128;
const ENDLESS = new Uint8Array(64 * 1024).fill(0x20);

function fetcherOver(upstream: Upstream, time: VirtualTime, clock: Clock, alive: () => boolean): Fetcher {
  const url = new URL('https://attacker.example/');
  return {
    async document(path, maxBytes) {
      await time.wait(20);
      const answer = upstream.document(decodeURIComponent(path));
      if ('bytes' in answer && answer.bytes === undefined) return undefined;
      const body = await readBody(messageOf(answer, time), url, maxBytes, { clock, ...PATIENT });
      return alive() ? body : new Promise(() => {});
    },
    async *blob(sha, offset, size) {
      await time.wait(20);
      const answer = upstream.blob(sha);
      if ('bytes' in answer && answer.bytes === undefined)
        throw new SkeinError('DOWNLOAD_FAILED', `no blob ${sha}`);
      const rest = 'bytes' in answer ? { bytes: answer.bytes!.subarray(offset) } : answer;
      for await (const chunk of boundedBody(url, messageOf(rest, time), size - offset, {
        clock,
        patience: PATIENT,
      })) {
        if (!alive()) return new Promise(() => {});
        yield chunk;
      }
    },
  };
}

/** A body as the HTTP client hands it on. */
const messageOf = (answer: Answer, time: VirtualTime): IncomingMessage =>
  Readable.from(bodyOf(answer, time), { objectMode: false }) as IncomingMessage;

async function* bodyOf(answer: Answer, time: VirtualTime): AsyncIterable<Uint8Array> {
  if ('bytes' in answer) {
    const bytes = answer.bytes ?? new Uint8Array();
    for (let at = 0; at < bytes.length; at += CHUNK * 64) yield bytes.subarray(at, at + CHUNK * 64);
    return;
  }
  if (answer.flow === 'cut') throw new Error('the connection was cut');
  for (;;) {
    if (answer.flow === 'endless') yield ENDLESS;
    else {
      await time.wait(25 * SECOND);
      yield ENDLESS.subarray(0, 1);
    }
  }
}
