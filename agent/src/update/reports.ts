/**
 * Reports of one order: milestones and one ending. Ids are `<order>:<outcome>`, so a report that was handed over
 * twice around a crash is one report. Made reports stay in the state until the outbox has them.
 */
import type { UpdateOutcome, UpdateReport } from '@skein/protocol/records.ts';
import { NO_STATS, type ProbationStats } from './ports.ts';
import type { Ending, Phase, Release, UpdateEffect, UpdateState } from './state.ts';

const REPORTS_MAX = 64;
const MILESTONES: readonly UpdateOutcome[] = ['started', 'downloaded', 'preflighted', 'probation'];

interface About {
  order: { id: string; rollout: string };
  model: string;
  version: string;
}

/** What the server judges by too. */
const countedIn = ({ inferences, errors, notFinite, p95LatencyUs }: ProbationStats) => ({
  ...{ inferences, errors, notFinite, p95LatencyUs },
});

/** The report of `outcome` about an order in the phase it is in. */
export function reportOf(
  about: About,
  outcome: UpdateOutcome,
  phase: Phase,
  stats: ProbationStats = NO_STATS,
  why: Pick<Ending, 'reason' | 'detail'> = { reason: null, detail: null },
): UpdateReport {
  return {
    id: `${about.order.id}:${outcome}`,
    order: about.order.id,
    rollout: about.order.rollout,
    model: about.model,
    version: about.version,
    outcome,
    reason: why.reason?.slice(0, 64) ?? null,
    detail: why.detail?.slice(0, 500) ?? null,
    loaded: phase.name === 'probation' ? phase.loaded : 'proof' in phase ? phase.proof.loaded : null,
    golden: 'proof' in phase ? { ...phase.proof.golden } : { passed: 0, total: 0 },
    ...('proof' in phase && phase.proof.proof && phase.proof.proof !== 'runtime'
      ? { proof: phase.proof.proof }
      : {}),
    probation: countedIn(stats),
    ...('previousP95Us' in phase && phase.previousP95Us !== null
      ? { previousP95LatencyUs: phase.previousP95Us }
      : {}),
  };
}

/** A committed release that would not start again: its order ends a second time, as reverted. */
export const fallenReport = (model: string, release: Release, reason: string, detail: string): UpdateReport =>
  reportOf(
    { order: release.order, model, version: release.version },
    'reverted',
    { name: 'idle' },
    NO_STATS,
    {
      reason,
      detail,
    },
  );

/** Adds a report to the state and asks for it to be handed over. At the bound milestones are given up, oldest first. */
export function withReport(
  state: UpdateState,
  report: UpdateReport,
): { state: UpdateState; effect: UpdateEffect } {
  const others = state.reports.filter((r) => r.id !== report.id);
  const milestone = others.findIndex((r) => MILESTONES.includes(r.outcome));
  const full = others.length >= REPORTS_MAX;
  const kept = full ? others.toSpliced(Math.max(0, milestone), 1) : others;
  return { state: { ...state, reports: [...kept, report] }, effect: { type: 'report', report } };
}
