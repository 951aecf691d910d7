/**
 * The shell of the update machines, one machine a model. A step's state is saved before its effects are performed.
 * Events of one machine are taken one after the other; its slow work (fetching, trying, loading) runs in one line,
 * so two loads never overlap, and work for an order that is over ends at the next chunk.
 */
import { describeError } from '@skein/protocol/errors.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log, Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { fractionOf, retryDelayMs } from './download-plan.ts';
import { resumeUpdate, stepUpdate } from './machine.ts';
import type {
  Fetcher,
  ModelRuntime,
  Preflight,
  ReportSink,
  Slots,
  Trust,
  TrustedView,
  UpdateStore,
} from './ports.ts';
import {
  blobsKeptBy,
  newUpdateState,
  type Release,
  type Step,
  type UpdateEffect,
  type UpdateEvent,
  type UpdateState,
} from './state.ts';
import { UpdateWork } from './update-work.ts';

export interface UpdateParts {
  fetcher: Fetcher;
  slots: Slots;
  trust: Trust;
  preflight: Preflight;
  runtime: ModelRuntime;
  store: UpdateStore;
  reports: ReportSink;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** The `update` message of the model that moved last, whenever it changes. */
  progress?(message: UpdateMessage, model: string): void;
}

interface Machine {
  state: UpdateState;
  events: UpdateEvent[];
  draining: boolean;
  /** The line of slow work; never rejects. */
  work: Promise<void>;
  timers: Map<'backoff' | 'judge', Timer>;
}

/** A full disk or a closed outbox: try the same step or report again after this long. */
const STORAGE_RETRY_MS: Millis = 30_000;
const REFRESH_RETRY_MS: Millis = 10_000;
const STOP_WITHIN_MS: Millis = 3_000;

export class UpdateRunner {
  readonly #parts: UpdateParts;
  readonly #machines = new Map<string, Machine>();
  readonly #work: UpdateWork;
  readonly #stopping = new AbortController();
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
    await Promise.all(machines.map((machine) => this.#resume(machine)));
  }

  /** A new view of the orders; also after every successful refresh that someone else asked for. */
  refreshed(view: TrustedView): void {
    const ordered = [...view.orders, ...view.refused].map(({ order }) => order.model);
    for (const model of new Set([...ordered, ...this.#machines.keys()])) this.#look(model, view);
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
    return [...this.#machines.values()].map((m) => m.state);
  }

  async stop(): Promise<void> {
    for (const machine of this.#machines.values()) this.#dispatch(machine, { type: 'stopping' });
    this.#stopping.abort();
    const machines = [...this.#machines.values()];
    this.#refreshTimer?.cancel();
    for (const timer of machines.flatMap((m) => [...m.timers.values()])) timer.cancel();
    const late = new Promise<void>((done) => this.#parts.clock.after(STOP_WITHIN_MS, done));
    await Promise.race([Promise.all(machines.map((m) => m.work)), late]);
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

  /** The load of the last good model; whatever else was under way stands in line behind it. */
  #resume(machine: Machine): Promise<void> {
    const { state, effects } = resumeUpdate(machine.state);
    const isBoot = (e: UpdateEffect) => e.type === 'activate' && e.purpose === 'boot';
    const boot = effects.filter(isBoot);
    machine.draining = true;
    try {
      this.#apply(machine, { state, effects: boot });
    } catch (thrown) {
      // A disk that takes nothing must not keep the last good model from running; the rest waits for space.
      this.#parts.log.error('update state can not be saved', { error: describeError(thrown) });
      for (const effect of boot) this.#perform(machine, effect);
      this.#parts.clock.after(STORAGE_RETRY_MS, () => void this.#resume(machine));
      machine.draining = false;
      return machine.work;
    }
    const booted = machine.work;
    this.#apply(machine, { state, effects: effects.filter((e) => !isBoot(e)) });
    machine.draining = false;
    this.#drain(machine);
    return booted;
  }

  #machine(model: string): Machine {
    const known = this.#machines.get(model);
    if (known) return known;
    const made: Machine = {
      state: this.#load(model),
      events: [],
      draining: false,
      work: Promise.resolve(),
      timers: new Map(),
    };
    this.#machines.set(model, made);
    return made;
  }

  #load(model: string): UpdateState {
    const saved = this.#parts.store.load(model);
    if (saved === undefined) return newUpdateState(model);
    try {
      return JSON.parse(saved) as UpdateState;
    } catch (cause) {
      this.#parts.log.error('update state can not be read; starting over', { model, error: String(cause) });
      return newUpdateState(model);
    }
  }

  #look(model: string, view: TrustedView): void {
    const agreed = view.orders.find((o) => o.order.model === model) ?? null;
    const refused = view.refused.find((o) => o.order.model === model) ?? null;
    const seen = { agreed, refused, refreshedMono: view.refreshedMono };
    this.#dispatch(this.#machine(model), { type: 'orders', view: seen });
  }

  #dispatch(machine: Machine, event: UpdateEvent): void {
    if (this.#stopping.signal.aborted) return;
    machine.events.push(event);
    this.#drain(machine);
  }

  #drain(machine: Machine): void {
    if (machine.draining) return;
    machine.draining = true;
    for (let event = machine.events.shift(); event; event = machine.events.shift()) {
      this.#take(machine, event);
    }
    machine.draining = false;
  }

  #take(machine: Machine, event: UpdateEvent): void {
    try {
      this.#apply(machine, stepUpdate(machine.state, event, this.#parts.clock.mono()));
    } catch (thrown) {
      this.#parts.log.error('update state can not be saved', {
        error: describeError(thrown),
        event: event.type,
      });
      this.#parts.clock.after(STORAGE_RETRY_MS, () => this.#dispatch(machine, event));
    }
  }

  #apply(machine: Machine, { state, effects }: Step): void {
    if (state !== machine.state) {
      this.#parts.store.save(state.model, JSON.stringify(state));
      machine.state = state;
      this.#work.announce(state);
    }
    for (const effect of effects) this.#perform(machine, effect);
  }

  #perform(machine: Machine, effect: UpdateEffect): void {
    const { model } = machine.state;
    switch (effect.type) {
      case 'backoff': {
        const delayMs = retryDelayMs(effect.attempt, fractionOf(this.#parts.entropy.bytes(4)));
        this.#later(machine, 'backoff', delayMs, () => ({ type: 'retry', order: effect.order }));
        break;
      }
      case 'judge': {
        const look = () => this.#parts.runtime.stats(model);
        this.#later(machine, 'judge', effect.afterMs, () => ({
          type: 'judged',
          order: effect.order,
          stats: look(),
        }));
        break;
      }
      case 'refresh':
        void this.refresh();
        break;
      case 'look': {
        const view = this.#parts.trust.view();
        if (view) this.#look(model, view);
        break;
      }
      case 'report':
        this.#report(machine, effect);
        break;
      default:
        this.#queue(machine, effect);
    }
  }

  #later(machine: Machine, kind: 'backoff' | 'judge', delayMs: Millis, make: () => UpdateEvent): void {
    machine.timers.get(kind)?.cancel();
    machine.timers.set(
      kind,
      this.#parts.clock.after(delayMs, () => this.#dispatch(machine, make())),
    );
  }

  #report(machine: Machine, effect: Extract<UpdateEffect, { type: 'report' }>): void {
    try {
      this.#parts.reports.report(effect.report);
      this.#dispatch(machine, { type: 'reported', id: effect.report.id });
    } catch (thrown) {
      this.#parts.log.error('a report can not be stored', {
        id: effect.report.id,
        error: describeError(thrown),
      });
      this.#parts.clock.after(STORAGE_RETRY_MS, () => {
        if (machine.state.reports.some((r) => r.id === effect.report.id)) this.#report(machine, effect);
      });
    }
  }

  #queue(machine: Machine, effect: Parameters<UpdateWork['perform']>[1]): void {
    machine.work = machine.work.then(async () => {
      if (this.#stopping.signal.aborted) return;
      if (effect.type === 'prune') return this.#prune();
      const event = await this.#work.perform(machine.state.model, effect);
      if (event) this.#dispatch(machine, event);
    });
  }

  async #prune(): Promise<void> {
    const keep = new Set([...this.#machines.values()].flatMap((m) => blobsKeptBy(m.state)));
    try {
      await this.#parts.slots.prune(keep);
    } catch (thrown) {
      this.#parts.log.warn('old models can not be removed', {
        error: describeError(thrown),
      });
    }
  }
}
