/** Rollout rows and effects in memory, as JSON text: nobody can change what was saved. Survives a crashed server. */
import type { RolloutStore } from '../../fleet-server/src/rollouts/port.ts';
import { dueAt, type Rollout, type RolloutEffect } from '../../fleet-server/src/rollouts/rollout.ts';

interface Row {
  rollout: Rollout;
  revision: number;
}
interface EffectRow {
  id: string;
  rollout: string;
  effect: RolloutEffect;
}

export class MemoryRollouts implements RolloutStore {
  readonly rows = new Map<string, Row>();
  readonly #open: EffectRow[] = [];

  async load(id: string) {
    return this.rows.get(id);
  }

  async list(limit: number) {
    return [...this.rows.values()].sort((a, b) => b.rollout.createdAt - a.rollout.createdAt).slice(0, limit);
  }

  async due(now: number) {
    const due = ({ rollout }: Row) => (dueAt(rollout) ?? Number.POSITIVE_INFINITY) <= now;
    return [...this.rows.values()].filter(due).map((row) => row.rollout.id);
  }

  async nextDueAt() {
    const times = [...this.rows.values()].flatMap((row) => dueAt(row.rollout) ?? []);
    return times.length > 0 ? Math.min(...times) : null;
  }

  async save(rollout: Rollout, expected: number | null, effects: readonly RolloutEffect[]) {
    if ((this.rows.get(rollout.id)?.revision ?? null) !== expected) return false;
    const revision = (expected ?? -1) + 1;
    this.rows.set(rollout.id, { rollout: Object.freeze(rollout), revision });
    for (const [n, effect] of effects.entries()) {
      this.#open.push({ id: `${rollout.id}:${revision}:${n}`, rollout: rollout.id, effect });
    }
    return true;
  }

  async openEffects(limit: number) {
    return this.#open.slice(0, limit);
  }

  async effectDone(id: string) {
    const index = this.#open.findIndex((effect) => effect.id === id);
    if (index >= 0) this.#open.splice(index, 1);
  }
}
