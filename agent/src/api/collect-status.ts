/** Puts the status together from the running parts. Pure. */
import type { ModelInUse } from '@skein/protocol/messages.ts';
import type { CurrentModel } from '../inference/engine.ts';
import type { ProbationStats, TrustedView } from '../update/ports.ts';
import { troubleText, type UpdateState } from '../update/state.ts';
import type { AgentStatus, ModelStatus, UpdateStatus } from './status.ts';

export const modelInUse = ({ manifest, variant, loaded }: CurrentModel): ModelInUse => ({
  name: manifest.name,
  version: manifest.version,
  sha256: loaded.sha256,
  variant: variant.id,
  placement: loaded.placement,
});

export const modelStatus = (
  model: CurrentModel,
  stats: ProbationStats,
  selfCheck: ModelStatus['selfCheck'],
): ModelStatus => ({
  ...modelInUse(model),
  provider: model.loaded.provider,
  proof: model.loaded.proof ?? 'runtime',
  reason: model.loaded.reason,
  stats,
  selfCheck,
});

export const updateStatus = (
  { model, phase, committed, choice, last = null }: UpdateState,
  compiling?: number | null,
  moves = false,
): UpdateStatus => ({
  model,
  phase: phase.name,
  committed: committed?.version ?? null,
  ordered: phase.name === 'idle' ? null : phase.agreed.order.version,
  waiting: phase.name !== 'idle' && phase.trouble && !moves ? troubleText(phase.trouble) : null,
  last,
  variant: committed?.reason ?? null,
  figures: choice?.figures ?? [],
  ...(compiling === undefined ? {} : { compiling }),
});

export const trustStatus = (view: TrustedView | undefined): AgentStatus['trust'] =>
  view
    ? {
        directorVersion: view.directorVersion,
        refreshedAt: view.refreshedAt,
        orders: view.orders.length,
        refused: view.refused.length,
      }
    : null;
