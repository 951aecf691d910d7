/**
 * One device: a disk that outlives its processes, and a process that runs the real update shell, the real trust
 * client and the real machine over simulated ports. A crash ends the process between any two of its steps.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import { HOUR, type Millis } from '@skein/protocol/units.ts';
import { installedIn } from '../../agent/src/update/barred.ts';
import type {
  Fetcher,
  ModelRuntime,
  Preflight,
  PreflightVerdict,
  ProbationStats,
  StagedModel,
  Trust,
} from '../../agent/src/update/ports.ts';
import { UpdateRunner } from '../../agent/src/update/run-update.ts';
import { TrustClient } from '../../agent/src/update/trust-client.ts';
import { sha256 } from '../protocol/trust/simulated-repository.ts';
import type { Checker } from './checker.ts';
import { SimDisk, simSlots, simTrustStore, simUpdateStore } from './disk.ts';
import type { SimNetwork } from './network.ts';
import { MODEL, type SimRepository, type SimVersion } from './repository.ts';
import type { Chance } from './seeded.ts';
import type { SimServer } from './server.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface Surroundings {
  time: VirtualTime;
  chance: Chance;
  network: SimNetwork;
  server: SimServer;
  repository: SimRepository;
  checker: Checker;
  verify: Verify;
  /** Power cuts right at a save, before or after it. */
  crashAtSave: number;
}

const CHUNK = 512;
const POLL_MS: Millis = 6 * HOUR;
const UPLINK_RETRY_MS: Millis = 15_000;
const quiet = { info() {}, warn() {}, error() {} };

export class SimDevice {
  readonly id: string;
  readonly disk = new SimDisk();
  readonly #trustStore = simTrustStore();
  readonly #world: Surroundings;
  /** p95 of a sound model on this hardware, µs. */
  readonly #baseUs: number;
  /** Inferences a second; some devices have next to nothing to look at. */
  readonly #rate: number;
  #runner: UpdateRunner | undefined;
  #life = 0;
  #sentSeq = 0;
  #sending = false;
  #running: { version: SimVersion; sinceMs: Millis } | undefined;
  /** Power cuts during trials: the third would rightly be held against the model. */
  trialCrashes = 0;
  crashes = 0;

  constructor(id: string, world: Surroundings) {
    this.id = id;
    this.#world = world;
    this.#baseUs = world.chance.between(300, 3000);
    this.#rate = world.chance.is(0.03) ? 0.02 : 1;
    const { image, director } = world.repository;
    this.#trustStore.pin(image.files['1.root.json']!, director.files['1.root.json']!);
  }

  get up(): boolean {
    return this.#runner !== undefined;
  }

  /** Version that infers now. */
  get version(): string | undefined {
    return this.#running?.version.version;
  }

  get phase(): string {
    return this.#runner?.states()[0]?.phase.name ?? 'off';
  }

  get unsent(): number {
    return this.disk.outbox.length;
  }

  boot(): void {
    this.#world.checker.restarted(this.id);
    const life = ++this.#life;
    const alive = () => this.#life === life;
    const { time, chance } = this.#world;
    const clock = time.clock(alive);
    const fetcher = this.#fetcher(alive);
    const trust = this.#trust(fetcher, clock, alive);
    this.#sending = false;
    const runner = new UpdateRunner({
      fetcher,
      slots: simSlots(this.disk),
      trust,
      preflight: this.#preflight(alive),
      runtime: this.#runtime(alive),
      store: this.#store(alive),
      reports: { report: (report) => this.#report(report, alive) },
      clock,
      entropy: chance.entropy(),
      log: quiet,
    });
    this.#runner = runner;
    void runner.start().then(() => alive() && this.connected());
    const poll = () => {
      clock.after(POLL_MS, poll);
      void runner.refresh();
    };
    clock.after(chance.between(0, POLL_MS), poll);
  }

  /** The link came up, or the server said that there is something new. */
  connected(): void {
    void this.#runner?.refresh();
    this.#pump();
  }

  /** The power goes; what was not synced may be gone too. */
  crash(): void {
    if (!this.#runner) return;
    if (this.phase === 'activating' || this.phase === 'probation') this.trialCrashes++;
    this.crashes++;
    this.#life++;
    this.#runner = undefined;
    this.#running = undefined;
    this.disk.crash(this.#world.chance);
  }

  /** The operating system starts the agent again. */
  crashAndReturn(afterMs: Millis): void {
    if (!this.#runner) return;
    this.crash();
    this.#world.time.after(afterMs, () => this.#runner ?? this.boot());
  }

  #store(alive: () => boolean) {
    const store = simUpdateStore(this.disk);
    const { chance, crashAtSave } = this.#world;
    // Going back is over in a moment; crashes in it are sought, or they would hardly ever happen.
    const risk = (state: string) => (state.includes('"name":"reverting"') ? 0.2 : crashAtSave);
    const mayCrash = (state: string) => alive() && chance.is(risk(state)) && this.trialCrashes < 2;
    return {
      ...store,
      save: (model: string, state: string) => {
        if (!alive()) throw new Error('this process has ended');
        if (mayCrash(state)) this.#cutOff();
        store.save(model, state);
        if (mayCrash(state)) this.#cutOff();
      },
    };
  }

  #cutOff(): never {
    this.crashAndReturn(this.#world.chance.between(1_000, 30_000));
    throw new Error('the power went');
  }

  #fetcher(alive: () => boolean): Fetcher {
    const { network, server } = this.#world;
    const { id } = this;
    const call = async <T>(serve: () => T): Promise<T> => {
      const answer = await network.call(id, serve);
      return alive() ? answer : new Promise<T>(() => {});
    };
    return {
      document: (path) => call(() => server.document(id, path)),
      async *blob(hash, offset) {
        for (let at = offset; ; at += CHUNK) {
          const chunk = await call(() => server.blob(hash)?.subarray(at, at + CHUNK));
          if (!chunk) throw new SkeinError('DOWNLOAD_FAILED', `no blob ${hash}`);
          if (chunk.length === 0) return;
          yield chunk;
        }
      },
    };
  }

  #trust(fetcher: Fetcher, clock: Clock, alive: () => boolean): Trust {
    const { verify, checker } = this.#world;
    const keys = ed25519Keys(verify);
    const installed = () => installedIn(simUpdateStore(this.disk));
    const options = {
      ...{ fetcher, store: this.#trustStore, clock, keys, device: this.id, hardwareTags: [], installed },
    };
    const client = new TrustClient(options);
    return {
      spokenAgainst: () => client.spokenAgainst(),
      view: () => client.view(),
      refresh: async () => {
        const view = await client.refresh();
        if (!alive()) return new Promise(() => {});
        checker.refreshed(this.id);
        return view;
      },
    };
  }

  #preflight(alive: () => boolean): Preflight {
    const { time, chance, checker } = this.#world;
    return {
      run: async (model) => {
        await time.wait(chance.between(500, 4_000));
        if (!alive()) return new Promise(() => {});
        const verdict = this.#verdict(model);
        if (verdict.ok) checker.preflighted(this.id, model.variant.file.sha256);
        return verdict;
      },
    };
  }

  #verdict(model: StagedModel): PreflightVerdict {
    const { chance, repository } = this.#world;
    const loaded = model.variant.file.sha256;
    const version = repository.byModelHash(loaded);
    const flaw = version ? repository.flawOn(this.id, version) : null;
    const bad = { ok: false, loaded: null, golden: { passed: 0, total: 4 }, environment: false };
    if (chance.is(0.02)) return { ...bad, code: null, detail: 'no memory just now', environment: true };
    if (flaw === 'crash-in-preflight') return { ...bad, code: 'MODEL_CRASHED', detail: 'SIGSEGV' };
    if (flaw === 'golden') return { ...bad, code: 'GOLDEN_MISMATCH', detail: 'vector 2 of 4' };
    return {
      ok: true,
      code: null,
      detail: null,
      loaded,
      golden: { passed: 4, total: 4 },
      environment: false,
    };
  }

  #runtime(alive: () => boolean): ModelRuntime {
    const { time, chance, repository, checker } = this.#world;
    return {
      activate: async (model) => {
        await time.wait(chance.between(50, 400));
        if (!alive()) return new Promise(() => {});
        const hash = model.variant.file.sha256;
        const bytes = this.disk.blobs.get(hash);
        const version = repository.byModelHash(hash);
        if (!bytes || !version || sha256(bytes) !== hash)
          throw new SkeinError('BLOB_MISMATCH', `${hash} on disk`);
        checker.activated(this.id, version, model, this.#committed());
        const flaw = repository.flawOn(this.id, version);
        if (flaw === 'crash-in-load') {
          this.crashAndReturn(5_000);
          return new Promise(() => {});
        }
        this.#running = { version, sinceMs: time.now };
        if (flaw === 'crash-on-run') time.after(700, () => alive() && this.crashAndReturn(5_000));
        return { loaded: sha256(bytes) };
      },
      deactivate: async () => {
        if (alive()) this.#running = undefined;
      },
      stats: () => this.#stats(),
    };
  }

  #committed(): string | undefined {
    return this.#runner?.states().find((s) => s.model === MODEL)?.committed?.model.sha256;
  }

  #stats(): ProbationStats {
    if (!this.#running) return { inferences: 0, errors: 0, notFinite: 0, p95LatencyUs: 0, p95AtLeastUs: 0 };
    const { version, sinceMs } = this.#running;
    const flaw = this.#world.repository.flawOn(this.id, version);
    const inferences = Math.floor(((this.#world.time.now - sinceMs) / 1000) * this.#rate);
    this.#world.checker.inferred(this.id, version.version, inferences);
    const p95LatencyUs = inferences === 0 ? 0 : this.#baseUs * (flaw === 'slow' ? 200 : 1);
    return {
      ...{ inferences, p95LatencyUs, p95AtLeastUs: p95LatencyUs },
      errors: flaw === 'errors' ? Math.floor(inferences / 2) : 0,
      notFinite: flaw === 'nan' ? Math.floor(inferences / 3) : 0,
    };
  }

  #report(report: UpdateReport, alive: () => boolean): void {
    if (!alive()) throw new Error('this process has ended');
    this.#world.checker.reported(this.id, report);
    this.disk.outbox.push(report);
    this.#pump();
  }

  /** Sends the oldest reports until they are acknowledged; the sequence makes a repeat harmless. */
  #pump(): void {
    if (this.#sending || this.disk.outbox.length === 0 || !this.#runner) return;
    this.#sending = true;
    const life = this.#life;
    const batch = this.disk.outbox.slice(0, 16) as UpdateReport[];
    const seq = this.#sentSeq;
    const { network, server, time } = this.#world;
    const done = (next: number | undefined) => {
      if (this.#life !== life) return;
      this.#sending = false;
      if (next === undefined)
        return void time.after(UPLINK_RETRY_MS, () => this.#life === life && this.#pump());
      this.disk.outbox.splice(0, Math.max(0, next - this.#sentSeq));
      this.#sentSeq = Math.max(this.#sentSeq, next);
      this.#pump();
    };
    network.call(this.id, () => server.accept(this.id, seq, batch)).then(done, () => done(undefined));
  }
}
