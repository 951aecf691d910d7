/**
 * The shell of the rollouts. A step is saved with its effects in one transaction, under compare-and-set on the
 * row's revision, so two servers may step one rollout; effects are performed after it, at least once, in order, and
 * again after a crash. Timers are due rows: they are looked at when the next one is due and every 30 s at the latest.
 */
import { describeError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { RolloutSpec, RolloutView } from '@skein/protocol/rollout.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import { type Candidate, createRollout, stepRollout } from './machine.ts';
import type { OrderDesk, RolloutStore } from './port.ts';
import type { RolloutEvent } from './rollout.ts';
import { viewOf } from './view.ts';

export interface RolloutParts {
  store: RolloutStore;
  desk: OrderDesk;
  clock: Clock;
  log: Log;
  /** Someone may want to see it: the event stream. */
  changed?(view: RolloutView): void;
}

const LOOK_EVERY_MS: Millis = 30_000;
const LOOK_AT_MOST_EVERY_MS: Millis = 20;
const EFFECT_RETRY_MS: Millis = 5_000;
const EFFECTS_AT_ONCE = 200;
const TRIES = 5;

export class RolloutRunner {
  readonly #parts: RolloutParts;
  readonly #changed = new Set<string>();
  #pumping: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(parts: RolloutParts) {
    this.#parts = parts;
  }

  /** Performs what a crash left open, then what is due. */
  start(): Promise<void> {
    return this.settle();
  }

  /** @throws SkeinError ROLLOUT_INVALID, CONFLICT */
  async create(
    id: string,
    spec: RolloutSpec,
    variants: readonly Sha256Hex[],
    candidates: readonly Candidate[],
  ): Promise<RolloutView> {
    await this.#refuseOverlap(spec, candidates);
    const { state, effects } = createRollout(id, spec, variants, candidates, this.#parts.clock.now());
    if (!(await this.#parts.store.save(state, null, effects))) {
      throw new SkeinError('CONFLICT', `rollout ${id} exists already`);
    }
    await this.#moved(id);
    return this.show(id);
  }

  /** @throws SkeinError NOT_FOUND, CONFLICT */
  async steer(id: string, action: Extract<RolloutEvent, { type: 'steer' }>['action']): Promise<RolloutView> {
    await this.step(this.#parts.store, id, { type: 'steer', action });
    await this.#moved(id);
    return this.show(id);
  }

  /** Ends every rollout of these versions and takes its orders back. Idempotent. */
  async withdraw(versions: readonly { name: string; version: string }[]): Promise<void> {
    const revoked = new Set(versions.map(({ name, version }) => `${name}@${version}`));
    if (revoked.size === 0) return;
    for (const { rollout } of await this.#parts.store.list(1_000)) {
      const { model, version } = rollout.spec;
      if (revoked.has(`${model}@${version}`))
        await this.step(this.#parts.store, rollout.id, { type: 'revoked' });
    }
    await this.settle();
  }

  /** @throws SkeinError NOT_FOUND */
  async show(id: string): Promise<RolloutView> {
    const row = await this.#parts.store.load(id);
    if (row) return viewOf(row.rollout, row.revision);
    throw new SkeinError('NOT_FOUND', `there is no rollout ${id}`, { fix: 'See `skein rollouts list`.' });
  }

  async list(limit: number): Promise<RolloutView[]> {
    return (await this.#parts.store.list(limit)).map((row) => viewOf(row.rollout, row.revision));
  }

  /**
   * A signed report, inside the transaction that stores it: `store` is that transaction's.
   * Call {@link settle} once it is committed. A rollout that this server does not know is no error.
   */
  async hear(store: RolloutStore, device: string, report: UpdateReport): Promise<void> {
    if (!(await store.load(report.rollout))) return;
    await this.step(store, report.rollout, { type: 'report', device, report });
  }

  /** A device is nobody any more, inside the transaction that erases it. Call {@link settle} once it is committed. */
  erase(store: RolloutStore, id: string, device: string): Promise<void> {
    return this.step(store, id, { type: 'erased', device });
  }

  /** One event; saved, its effects still to be performed. @throws SkeinError NOT_FOUND, CONFLICT */
  async step(store: RolloutStore, id: string, event: RolloutEvent): Promise<void> {
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const row = await store.load(id);
      if (!row)
        throw new SkeinError('NOT_FOUND', `there is no rollout ${id}`, { fix: 'See `skein rollouts list`.' });
      const { state, effects } = stepRollout(row.rollout, event, this.#parts.clock.now());
      if (state === row.rollout && effects.length === 0) return;
      if (!(await store.save(state, row.revision, effects))) continue;
      this.#changed.add(id);
      return;
    }
    throw new SkeinError('CONFLICT', `rollout ${id} is changed by others all the time`, {
      fix: 'Try again.',
    });
  }

  /** Ticks what is due, performs open effects, tells who watches, and sleeps until the next due row. One at a time. */
  settle(): Promise<void> {
    this.#again = true;
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
    });
    return this.#pumping;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#pumping;
  }

  #moved(id: string): Promise<void> {
    this.#changed.add(id);
    return this.settle();
  }

  async #pump(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      let waitMs = LOOK_EVERY_MS;
      try {
        await this.#tickDue();
        await this.#performOpen();
        await this.#tell();
        const next = await this.#parts.store.nextDueAt();
        if (next !== null)
          waitMs = Math.min(waitMs, Math.max(LOOK_AT_MOST_EVERY_MS, next - this.#parts.clock.now()));
      } catch (thrown) {
        this.#parts.log.error('rollouts could not be settled', { error: describeError(thrown) });
        waitMs = EFFECT_RETRY_MS;
      }
      this.#sleep(waitMs);
    }
  }

  #sleep(waitMs: Millis): void {
    this.#timer?.cancel();
    if (!this.#stopped) this.#timer = this.#parts.clock.after(waitMs, () => void this.settle());
  }

  async #tickDue(): Promise<void> {
    for (const id of await this.#parts.store.due(this.#parts.clock.now())) {
      await this.step(this.#parts.store, id, { type: 'tick' });
    }
  }

  async #performOpen(): Promise<void> {
    const { store, desk, clock } = this.#parts;
    for (let open = await store.openEffects(EFFECTS_AT_ONCE); open.length > 0; ) {
      for (const { id, effect } of open) {
        if (this.#stopped) return;
        await desk.set(effect.device, effect.model, effect.order, effect.onlyOver);
        await store.effectDone(id, clock.now());
      }
      open = await store.openEffects(EFFECTS_AT_ONCE);
    }
  }

  async #tell(): Promise<void> {
    const ids = [...this.#changed];
    this.#changed.clear();
    for (const id of ids) this.#parts.changed?.(await this.show(id));
  }

  /** Two live rollouts of one model must not order the same device about. */
  async #refuseOverlap(spec: RolloutSpec, candidates: readonly Candidate[]): Promise<void> {
    const devices = new Set(candidates.map((c) => c.device));
    for (const { rollout } of await this.#parts.store.list(1_000)) {
      const live = ['running', 'paused', 'held'].includes(rollout.state) && rollout.spec.model === spec.model;
      if (!live || !rollout.targets.some((t) => devices.has(t.device))) continue;
      throw new SkeinError(
        'CONFLICT',
        `rollout ${rollout.id} of ${spec.model} is ${rollout.state} on the same devices`,
        {
          fix: `Wait for it, or stop it with \`skein rollouts abort ${rollout.id}\`.`,
        },
      );
    }
  }
}
