/**
 * The shell of one update machine. A step's state is saved before its effects are performed. Events are taken one
 * after the other; slow work (fetching, trying, loading) runs in one line, so two loads never overlap.
 */
import { describeError } from '@skein/protocol/errors.ts';
import type { Timer } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { withoutBarred, withoutFallen } from './barred.ts';
import { fractionOf, retryDelayMs } from './download-plan.ts';
import { resumeUpdate, stepUpdate } from './machine.ts';
import type { TrustedView } from './ports.ts';
import { newUpdateState, type Step, type UpdateEffect, type UpdateEvent, type UpdateState } from './state.ts';
import type { UpdateParts } from './update-parts.ts';
import type { SlowEffect, UpdateWork } from './update-work.ts';

/** What a machine asks of all of them together. */
export interface Fellows {
  refresh(): void;
  prune(): Promise<void>;
}

/** A full disk or a closed outbox: try the same step or report again after this long. */
const STORAGE_RETRY_MS: Millis = 30_000;

const atOnce = (task: () => void): void => task();

const isBoot = (effect: UpdateEffect): boolean => effect.type === 'activate' && effect.purpose === 'boot';

export class RunningMachine {
  state: UpdateState;
  /** The line of slow work; never rejects. */
  work: Promise<void> = Promise.resolve();
  readonly #parts: UpdateParts;
  readonly #performer: UpdateWork;
  readonly #stopping: AbortSignal;
  readonly #fellows: Fellows;
  readonly #events: UpdateEvent[] = [];
  readonly #timers = new Map<'backoff' | 'boot' | 'judge', Timer>();
  #draining = false;

  constructor(
    model: string,
    parts: UpdateParts,
    performer: UpdateWork,
    stopping: AbortSignal,
    fellows: Fellows,
  ) {
    this.#parts = parts;
    this.#performer = performer;
    this.#stopping = stopping;
    this.#fellows = fellows;
    this.state = this.#load(model);
  }

  /** Resolves with the load of the last good model; whatever else was under way stands in line behind it. */
  resume(): Promise<void> {
    // What was withdrawn does not run even for the moment until the first look.
    const { barred, releaseFloors } = this.#parts.trust.spokenAgainst();
    const allowed = withoutFallen(withoutBarred(this.state, barred), releaseFloors);
    const { state, effects } = resumeUpdate(allowed);
    const boot = effects.filter(isBoot);
    this.#draining = true;
    try {
      this.#apply({ state, effects: boot });
    } catch (thrown) {
      // A disk that takes nothing must not keep the last good model from running; the rest waits for space.
      this.#parts.log.error('update state can not be saved', { error: describeError(thrown) });
      for (const effect of boot) this.#perform(effect);
      this.#retryStorage(() => void this.resume());
      this.#draining = false;
      return this.work;
    }
    const booted = this.work;
    this.#apply({ state, effects: effects.filter((effect) => !isBoot(effect)) });
    this.#draining = false;
    this.#drain();
    return booted;
  }

  /** Takes up this model's part of a view. */
  look(view: TrustedView): void {
    const { model } = this.state;
    const agreed = view.orders.find((o) => o.order.model === model) ?? null;
    const refused = view.refused.find((o) => o.order.model === model) ?? null;
    const hold = agreed ? this.#parts.gate?.hold(agreed.order, 'install') : undefined;
    const { refreshedMono, barred = [] } = view;
    this.dispatch({ type: 'orders', view: { agreed, refused, refreshedMono, barred, hold } });
  }

  dispatch(event: UpdateEvent): void {
    if (this.#stopping.aborted) return;
    this.#events.push(event);
    this.#drain();
  }

  cancelTimers(): void {
    for (const timer of this.#timers.values()) timer.cancel();
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

  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    for (let event = this.#events.shift(); event; event = this.#events.shift()) this.#take(event);
    this.#draining = false;
  }

  #take(event: UpdateEvent): void {
    try {
      this.#apply(stepUpdate(this.state, event, this.#parts.clock.mono()));
    } catch (thrown) {
      const error = describeError(thrown);
      this.#parts.log.error('update state can not be saved', { error, event: event.type });
      this.#retryStorage(() => this.dispatch(event));
    }
  }

  #apply({ state, effects }: Step): void {
    if (state !== this.state) {
      this.#parts.store.save(state.model, JSON.stringify(state));
      this.state = state;
      this.#performer.announce(state);
    }
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: UpdateEffect): void {
    const { atLeisure = atOnce, entropy, runtime } = this.#parts;
    switch (effect.type) {
      case 'backoff': {
        const delayMs = retryDelayMs(effect.attempt, fractionOf(entropy.bytes(4)));
        this.#later('backoff', delayMs, () => ({ type: 'retry', order: effect.order }));
        break;
      }
      case 'defer':
        this.#later('backoff', effect.afterMs, () => ({ type: 'retry', order: effect.order }));
        break;
      case 'bootLater': {
        const delayMs = retryDelayMs(effect.attempt, fractionOf(entropy.bytes(4)));
        this.#later('boot', delayMs, () => ({ type: 'bootAgain' }));
        break;
      }
      case 'judge': {
        const stats = () => runtime.stats(this.state.model);
        this.#later('judge', effect.afterMs, () => ({ type: 'judged', order: effect.order, stats: stats() }));
        break;
      }
      case 'refresh':
        this.#fellows.refresh();
        break;
      case 'look':
        atLeisure(() => this.#lookAgain());
        break;
      case 'report':
        this.#report(effect);
        break;
      default:
        this.#queue(effect);
    }
  }

  #lookAgain(): void {
    const view = this.#stopping.aborted ? undefined : this.#parts.trust.view();
    if (view) this.look(view);
  }

  #later(kind: 'backoff' | 'boot' | 'judge', delayMs: Millis, make: () => UpdateEvent): void {
    this.#timers.get(kind)?.cancel();
    this.#timers.set(
      kind,
      this.#parts.clock.after(delayMs, () => this.dispatch(make())),
    );
  }

  #retryStorage(again: () => void): void {
    this.#parts.clock.after(STORAGE_RETRY_MS, () => {
      if (!this.#stopping.aborted) again();
    });
  }

  #report(effect: Extract<UpdateEffect, { type: 'report' }>): void {
    const { id } = effect.report;
    try {
      this.#parts.reports.report(effect.report);
      this.dispatch({ type: 'reported', id });
    } catch (thrown) {
      this.#parts.log.error('a report can not be stored', { id, error: describeError(thrown) });
      this.#retryStorage(() => {
        if (this.state.reports.some((report) => report.id === id)) this.#report(effect);
      });
    }
  }

  #queue(effect: SlowEffect): void {
    this.work = this.work.then(async () => {
      if (this.#stopping.aborted) return;
      if (effect.type === 'prune') return this.#fellows.prune();
      const event = await this.#performer.perform(this.state.model, effect);
      if (event) this.dispatch(event);
    });
  }
}
