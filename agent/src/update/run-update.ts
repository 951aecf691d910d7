/**
 * The shell of all update machines, one a model, and of the refresh that feeds them. Work for an order that is over
 * ends at the next chunk; blobs are pruned by what all machines together still need.
 */
import { describeError } from '@skein/protocol/errors.ts';
import type { Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { fractionOf, retryDelayMs } from './download-plan.ts';
import type { TrustedView } from './ports.ts';
import { RunningMachine } from './run-machine.ts';
import { blobsKeptBy, type Release, type UpdateState } from './state.ts';
import type { UpdateParts } from './update-parts.ts';
import { UpdateWork } from './update-work.ts';

const REFRESH_RETRY_MS: Millis = 10_000;
/** Restarting a backend's service takes less. */
const LOST_MS: Millis = 10_000;
const STOP_WITHIN_MS: Millis = 3_000;

export class UpdateRunner {
  readonly #parts: UpdateParts;
  readonly #machines = new Map<string, RunningMachine>();
  readonly #work: UpdateWork;
  readonly #stopping = new AbortController();
  readonly #lost = new Map<string, Timer>();
  #refreshing: Promise<void> | undefined;
  #failedRefreshes = 0;
  #refreshTimer: Timer | undefined;

  constructor(parts: UpdateParts) {
    this.#parts = parts;
    this.#work = new UpdateWork(parts, this.#stopping.signal, (model) => this.#machines.get(model)?.state);
  }

  /** Takes up what was under way. Resolves when every last good model has been loaded, before any network. */
  async start(): Promise<void> {
    const machines = this.#parts.store.models().map((model) => this.#machine(model));
    await Promise.all(machines.map((machine) => machine.resume()));
  }

  /** A new view of the orders; also after every successful refresh that someone else asked for. */
  refreshed(view: TrustedView): void {
    const ordered = [...view.orders, ...view.refused].map(({ order }) => order.model);
    for (const model of new Set([...ordered, ...this.#machines.keys()])) this.#machine(model).look(view);
  }

  /** Refreshes trust and takes up what it says; failures are logged, the old view stays. One at a time. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** What runs under this name now. */
  active(model: string): Release | undefined {
    return this.#work.running.get(model);
  }

  /** The machines' states, for people: `skein-agent status` and the simulation's checks. */
  states(): UpdateState[] {
    return [...this.#machines.values()].map((machine) => machine.state);
  }

  /** Does the download of this model bring bytes just now? */
  moves(model: string): boolean {
    const state = this.#machines.get(model)?.state;
    return state !== undefined && this.#work.moves(state.phase);
  }

  /** Share done of what a backend compiles for this model now; undefined: nothing. */
  compiling(model: string): number | null | undefined {
    return this.#work.compiling.get(model);
  }

  /**
   * A backend became unusable or usable again. One that stays away for a while is left for the stand-in; one that is
   * back gets its models back at once.
   */
  backendChanged(backend: string, usable: boolean): void {
    this.#lost.get(backend)?.cancel();
    this.#lost.delete(backend);
    const again = (standing: boolean) => {
      for (const [model, machine] of this.#machines) {
        const { committed } = machine.state;
        if (committed?.backend !== backend || !committed.standIn) continue;
        if (this.#work.standingIn.has(model) === standing) machine.dispatch({ type: 'bootAgain' });
      }
    };
    if (usable) again(true);
    else
      this.#lost.set(
        backend,
        this.#parts.clock.after(LOST_MS, () => again(false)),
      );
  }

  async stop(): Promise<void> {
    const machines = [...this.#machines.values()];
    for (const machine of machines) machine.dispatch({ type: 'stopping' });
    this.#stopping.abort();
    this.#refreshTimer?.cancel();
    for (const timer of this.#lost.values()) timer.cancel();
    for (const machine of machines) machine.cancelTimers();
    const late = new Promise<void>((done) => this.#parts.clock.after(STOP_WITHIN_MS, done));
    await Promise.race([Promise.all(machines.map((machine) => machine.work)), late]);
  }

  async #refresh(): Promise<void> {
    let view: TrustedView | undefined;
    try {
      view = await this.#parts.trust.refresh();
      this.#failedRefreshes = 0;
    } catch (thrown) {
      this.#parts.log.warn('orders could not be refreshed', { error: describeError(thrown) });
      view = this.#parts.trust.view();
      this.#refreshLater();
    }
    if (view && !this.#stopping.signal.aborted) this.refreshed(view);
  }

  /** Connecting and polling bring a refresh too; this is for the answer that was lost. */
  #refreshLater(): void {
    const random = fractionOf(this.#parts.entropy.bytes(4));
    const delayMs = REFRESH_RETRY_MS + retryDelayMs(++this.#failedRefreshes, random);
    this.#refreshTimer?.cancel();
    this.#refreshTimer = this.#parts.clock.after(delayMs, () => {
      if (!this.#stopping.signal.aborted) void this.refresh();
    });
  }

  #machine(model: string): RunningMachine {
    const known = this.#machines.get(model);
    if (known) return known;
    const fellows = { refresh: () => void this.refresh(), prune: () => this.prune() };
    const made = new RunningMachine(model, this.#parts, this.#work, this.#stopping.signal, fellows);
    this.#machines.set(model, made);
    return made;
  }

  /** Removes the blobs that nobody needs. */
  async prune(): Promise<void> {
    const keep = new Set([...this.#machines.values()].flatMap((machine) => blobsKeptBy(machine.state)));
    for (const sha256 of this.#parts.alsoKept?.() ?? []) keep.add(sha256);
    try {
      await this.#parts.slots.prune(keep);
      await this.#parts.scratch?.prune(keep);
    } catch (thrown) {
      this.#parts.log.warn('old models can not be removed', { error: describeError(thrown) });
    }
  }
}
