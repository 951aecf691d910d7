/** What the shell of the rollouts needs: rows that change only together with their effects, and the director's desk. */
import type { Order } from '@skein/protocol/orders.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Rollout, RolloutEffect } from './rollout.ts';

export interface RolloutRow {
  rollout: Rollout;
  revision: number;
}

export interface OpenEffect {
  /** Sorts in the order in which effects were made. */
  id: string;
  rollout: string;
  effect: RolloutEffect;
}

export interface RolloutStore {
  load(id: string): Promise<RolloutRow | undefined>;
  /** Newest first. */
  list(limit: number): Promise<RolloutRow[]>;
  /** Rows whose time has come. */
  due(now: Millis): Promise<string[]>;
  nextDueAt(): Promise<Millis | null>;
  /** Row and effects in one transaction; revision `expected + 1`. False, and nothing written, when another was there first. */
  save(rollout: Rollout, expected: number | null, effects: readonly RolloutEffect[]): Promise<boolean>;
  /** Oldest first, at most `limit`. */
  openEffects(limit: number): Promise<OpenEffect[]>;
  effectDone(id: string, at: Millis): Promise<void>;
}

/** Where a device's standing orders lie. */
export interface OrderDesk {
  /**
   * From now on `device` should do `order` about `model` (null: nothing), and is told so. Idempotent.
   * @param onlyOver rollouts: do nothing when the standing order is of none of them; null: whatever stands
   */
  set(device: string, model: string, order: Order | null, onlyOver: readonly string[] | null): Promise<void>;
}
