/**
 * The update of one model on one device, as a pure machine. The table below is all of it: a pair that is not in it
 * is an event that came too late and changes nothing.
 *
 * Invariants: what runs was ordered, agreed and preflighted, or is the last good release. The start counter is
 * saved before a load begins; three starts that did not end well revert and quarantine the hash. Activation needs
 * orders refreshed within `freshWithinMs`. An order ends once, with one report, and its id is never carried out
 * again. A fault of this machine or of the network never ends an order, and a disk that loses what was installed is mended.
 */
import type { Millis } from '@skein/protocol/units.ts';
import { leaveBarred } from './barred.ts';
import { HOLDS } from './gate.ts';
import {
  begin,
  cancel,
  conclude,
  defer,
  enter,
  fallBack,
  giveUp,
  retry,
  revert,
  stillWanted,
  workOf,
} from './moves.ts';
import { NO_STATS } from './ports.ts';
import { judgeEveryMs, judgeProbation, yardstickOf } from './probation.ts';
import type { Phase, PhaseName, PhaseOf, Step, UpdateEvent, UpdateState } from './state.ts';

export const STARTS_MAX = 3;
/** Retries of a fault that may be the other side's. */
const FEW = 3;

type EventOf<T extends UpdateEvent['type']> = Extract<UpdateEvent, { type: T }>;
type Move<N extends PhaseName, T extends UpdateEvent['type']> = (
  state: UpdateState,
  phase: PhaseOf<N>,
  event: EventOf<T>,
  now: Millis,
) => Step;
type Row<N extends PhaseName> = { [T in UpdateEvent['type']]?: Move<N, T> };

// biome-ignore format: the table is read by its columns
const TABLE: { [N in PhaseName]: Row<N> } = {
  idle:        { orders: take },
  fetching:    { orders: heed,  failed: refuseOrRetry, retry: again, deferred: wait, fetched: plan },
  downloading: { orders: heed,  failed: refuseOrRetry, retry: again, deferred: wait, downloaded: tryOut },
  preflight:   { orders: heed,  failed: refuseOrRetry, retry: again, deferred: wait, preflighted: weigh },
  ready:       { orders: start,                        retry: askFresh },
  activating:  { orders: heed,  stopping: uncount,     activated: probe,   activateFailed: giveBack },
  probation:   { orders: heed,  stopping: uncount,     judged: judge },
  reverting:   {                                       activated: settle,  activateFailed: settleAnyhow },
};

/** One event. `now` is monotonic time of this process. The new state is to be saved before the effects are performed. */
export function stepUpdate(state: UpdateState, event: UpdateEvent, now: Millis): Step {
  if (event.type === 'reported') return handedOver(state, event.id);
  if (event.type === 'bootAgain') return bootAgain(state);
  if ('purpose' in event && event.purpose === 'boot') return booted(state, event);
  if (event.type === 'orders' && event.view.barred?.length) return withoutWithdrawn(state, event, now);
  const { phase } = state;
  if (isForeign(phase, event)) return { state, effects: [] };
  const move = TABLE[phase.name][event.type] as Move<PhaseName, UpdateEvent['type']> | undefined;
  return move ? move(state, phase, event, now) : { state, effects: [] };
}

/** After a start: the last good model first, then whatever was under way, from what is on disk. */
export function resumeUpdate(state: UpdateState): Step {
  const boot = loadCommitted(state);
  const rest = resumePhase(boot.state);
  const work = [...boot.effects, ...rest.effects].filter((e) => e.type !== 'report');
  const reports = rest.state.reports.map((report) => ({ type: 'report' as const, report }));
  return { state: rest.state, effects: [...work, ...reports, { type: 'look' }] };
}

function loadCommitted(state: UpdateState): Step {
  if (!state.committed) return { state, effects: [] };
  if (state.bootStarts >= STARTS_MAX)
    return fallBack(state, 'START_FAILED', `${state.bootStarts} starts failed`);
  const release = state.committed;
  return {
    state: { ...state, bootStarts: state.bootStarts + 1 },
    effects: [{ type: 'activate', purpose: 'boot', order: release.order.id, release }],
  };
}

function resumePhase(state: UpdateState): Step {
  const { phase } = state;
  switch (phase.name) {
    case 'idle':
      return { state, effects: [] };
    case 'fetching':
    case 'downloading':
    case 'preflight':
      return again(state, phase);
    case 'ready':
      return { state, effects: [] };
    // Loading again is an activation: it waits for fresh orders, while the last good model runs.
    case 'activating':
    case 'probation':
      if (phase.starts < STARTS_MAX)
        return { state: { ...state, phase: { ...phase, name: 'ready' } }, effects: [] };
      return giveUp(state, 'START_FAILED', `${phase.starts} starts did not survive probation`, 'reverted');
    // The last good model is loaded already: that was the revert.
    case 'reverting':
      return conclude(state, phase.ending, phase.stats);
  }
}

/** What offline keys have withdrawn is left first; then the orders are heeded as ever. */
function withoutWithdrawn(state: UpdateState, { type, view }: EventOf<'orders'>, now: Millis): Step {
  const { barred = [], ...orders } = view;
  const left = leaveBarred(state, barred);
  const heeded = stepUpdate(left.state, { type, view: orders }, now);
  return { state: heeded.state, effects: [...left.effects, ...heeded.effects] };
}

function isForeign(phase: Phase, event: UpdateEvent): boolean {
  return 'order' in event && (phase.name === 'idle' || phase.agreed.order.id !== event.order);
}

function handedOver(state: UpdateState, id: string): Step {
  const reports = state.reports.filter((r) => r.id !== id);
  return { state: reports.length === state.reports.length ? state : { ...state, reports }, effects: [] };
}

function booted(state: UpdateState, event: EventOf<'activated'> | EventOf<'activateFailed'>): Step {
  if (state.committed?.order.id !== event.order) return { state, effects: [] };
  if (event.type === 'activateFailed' && event.lost) return mend(state);
  const spoiled = event.type === 'activated' ? event.standIn : event.fault.retry === 'always';
  // An environment that fails now may work later: nothing is given up for it.
  if (spoiled) return bootLater(state);
  if (event.type === 'activated') return { state: { ...state, bootStarts: 0, bootTries: 0 }, effects: [] };
  return fallBack(state, event.fault.code, event.fault.message);
}

function bootLater(state: UpdateState): Step {
  const attempt = (state.bootTries ?? 0) + 1;
  return {
    state: { ...state, bootStarts: 0, bootTries: attempt },
    effects: [{ type: 'bootLater', attempt }],
  };
}

/** It was proven here, so what the disk lost of it is fetched again, and no order ends for that. */
function mend(state: UpdateState): Step {
  const { committed: release, previous: before } = state;
  if (!release) return { state, effects: [] };
  const attempt = (state.bootTries ?? 0) + 1;
  return {
    state: { ...state, bootStarts: 0, bootTries: attempt },
    effects: [{ type: 'mend', order: release.order.id, release, before, attempt }],
  };
}

/** While a new model is tried, or taken back, that decides what runs. */
const ON_TRIAL: readonly PhaseName[] = ['activating', 'probation', 'reverting'];

function bootAgain(state: UpdateState): Step {
  return ON_TRIAL.includes(state.phase.name) ? { state, effects: [] } : loadCommitted(state);
}

function take(state: UpdateState, _: PhaseOf<'idle'>, { view }: EventOf<'orders'>): Step {
  return begin(state, view);
}

/** Orders while one is under way: the same one goes on, anything else ends it. */
function heed(
  state: UpdateState,
  phase: PhaseOf<Exclude<PhaseName, 'idle' | 'reverting'>>,
  { view }: EventOf<'orders'>,
): Step {
  if (stillWanted(phase.agreed.order.id, view)) return { state, effects: [] };
  return cancel(state, phase, view);
}

function plan(state: UpdateState, phase: PhaseOf<'fetching'>, { release }: EventOf<'fetched'>): Step {
  const bad = state.quarantined.find((q) => q.sha256 === release.model.sha256);
  if (bad) {
    const detail = `these bytes failed here before: ${bad.code}`;
    return conclude(state, { outcome: 'refused', reason: 'MODEL_QUARANTINED', detail });
  }
  return enter(state, { ...phase, name: 'downloading', release, attempt: 0, doubts: 0 });
}

function tryOut(state: UpdateState, phase: PhaseOf<'downloading'>): Step {
  return enter(state, { ...phase, name: 'preflight', attempt: 0, doubts: 0 });
}

function weigh(before: UpdateState, phase: PhaseOf<'preflight'>, event: EventOf<'preflighted'>): Step {
  const { verdict, release = phase.release, choice } = event;
  if (verdict.environment) {
    const { code, detail } = verdict;
    return retry(before, phase, { code: code ?? 'OVERLOADED', message: detail ?? 'preflight could not run' });
  }
  const state = choice ? { ...before, choice } : before;
  const { loaded, golden, proof: level } = verdict;
  const proof = { loaded, golden, ...(level ? { proof: level } : {}) };
  const trial = {
    ...phase,
    release,
    name: 'ready' as const,
    proof,
    starts: 0,
    previousP95Us: null,
    attempt: 0,
    doubts: 0,
  };
  if (!verdict.ok) return giveUp({ ...state, phase: trial }, verdict.code ?? 'MODEL_INVALID', verdict.detail);
  return enter(state, trial);
}

function refuseOrRetry(
  state: UpdateState,
  phase: PhaseOf<'fetching' | 'downloading' | 'preflight'>,
  event: EventOf<'failed'>,
): Step {
  if (event.phase !== phase.name) return { state, effects: [] };
  const { retry: worth } = event.fault;
  const doubts = phase.doubts + (worth === 'few' ? 1 : 0);
  if (worth === 'always' || (worth === 'few' && doubts <= FEW)) {
    const attempt = event.progressed ? 0 : phase.attempt;
    return retry(state, { ...phase, doubts, attempt }, event.fault);
  }
  return conclude(state, { outcome: 'refused', reason: event.fault.code, detail: event.fault.message });
}

function again(state: UpdateState, phase: PhaseOf<'fetching' | 'downloading' | 'preflight'>): Step {
  const { trouble, ...going } = phase;
  const held = HOLDS.some((code) => code === trouble?.code);
  const next = held ? { ...state, phase: going as typeof phase } : state;
  return { state: next, effects: workOf(phase, state.committed) };
}

function wait(
  state: UpdateState,
  phase: PhaseOf<'fetching' | 'downloading' | 'preflight'>,
  event: EventOf<'deferred'>,
): Step {
  return event.phase === phase.name ? defer(state, phase, event.hold) : { state, effects: [] };
}

function start(state: UpdateState, phase: PhaseOf<'ready'>, event: EventOf<'orders'>, now: Millis): Step {
  const { agreed, refreshedMono } = event.view;
  if (!stillWanted(phase.agreed.order.id, event.view)) return cancel(state, phase, event.view);
  if (!agreed) {
    const { code, message } = event.view.refused!;
    return retry(state, phase, { code, message });
  }
  if (event.view.hold) return defer(state, phase, event.view.hold);
  const { freshWithinMs } = agreed.order;
  if (freshWithinMs !== null && now - refreshedMono > freshWithinMs) {
    const message = `its orders were not refreshed within ${freshWithinMs / 1000} s; that is tried again`;
    return retry(state, phase, { code: 'ORDERS_STALE', message });
  }
  return enter(state, { ...phase, name: 'activating', starts: phase.starts + 1 });
}

function askFresh(state: UpdateState): Step {
  return { state, effects: [{ type: 'refresh' }] };
}

function uncount(state: UpdateState, phase: PhaseOf<'activating' | 'probation'>): Step {
  return { state: { ...state, phase: { ...phase, starts: Math.max(0, phase.starts - 1) } }, effects: [] };
}

function probe(
  state: UpdateState,
  phase: PhaseOf<'activating'>,
  event: EventOf<'activated'>,
  now: Millis,
): Step {
  if (event.purpose !== 'trial') return { state, effects: [] };
  if (event.loaded !== phase.release.model.sha256) {
    return revert(state, phase, 'BLOB_MISMATCH', `the runtime loaded ${event.loaded}`, NO_STATS);
  }
  const yardstick = yardstickOf(event.before, phase, event.needs);
  return enter(state, { ...phase, ...yardstick, name: 'probation', loaded: event.loaded, sinceMono: now });
}

/** The runtime refused the model, so what ran before still runs. */
function giveBack(
  state: UpdateState,
  phase: PhaseOf<'activating'>,
  { purpose, fault, lost }: EventOf<'activateFailed'>,
): Step {
  if (purpose !== 'trial') return { state, effects: [] };
  if (lost) {
    const { agreed, release, attempt, doubts } = phase;
    return retry(state, { name: 'downloading', agreed, release, attempt, doubts }, fault);
  }
  if (fault.retry === 'always') {
    return retry(state, { ...phase, name: 'ready', starts: phase.starts - 1 }, fault);
  }
  return giveUp(state, fault.code, fault.message, 'reverted');
}

function judge(
  state: UpdateState,
  phase: PhaseOf<'probation'>,
  { stats }: EventOf<'judged'>,
  now: Millis,
): Step {
  const policy = phase.agreed.order.probation;
  const judgement = judgeProbation(policy, stats, now - phase.sinceMono, phase);
  switch (judgement.verdict) {
    case 'continue':
      return {
        state,
        effects: [{ type: 'judge', order: phase.agreed.order.id, afterMs: judgeEveryMs(policy) }],
      };
    case 'commit':
      return conclude(state, { outcome: 'committed', reason: null, detail: null }, stats);
    case 'unproven':
      return conclude(
        state,
        { outcome: 'unproven', reason: null, detail: 'too few inferences in time' },
        stats,
      );
    case 'revert':
      return revert(state, phase, judgement.code, judgement.detail, stats);
  }
}

function settle(state: UpdateState, phase: PhaseOf<'reverting'>, event: EventOf<'activated'>): Step {
  if (event.purpose !== 'revert') return { state, effects: [] };
  const ended = conclude(state, phase.ending, phase.stats);
  if (!event.standIn) return ended;
  const later = bootLater(ended.state);
  return { state: later.state, effects: [...ended.effects, ...later.effects] };
}

/** The last good model does not load: nothing runs until the next order or start, and the report says so. */
function settleAnyhow(
  state: UpdateState,
  phase: PhaseOf<'reverting'>,
  event: EventOf<'activateFailed'>,
): Step {
  if (event.purpose !== 'revert') return { state, effects: [] };
  const detail = `${phase.ending.detail ?? ''}; the last good model failed to load: ${event.fault.message}`;
  const ended = conclude(state, { ...phase.ending, detail }, phase.stats);
  const later = event.lost
    ? mend(ended.state)
    : event.fault.retry === 'always'
      ? bootLater(ended.state)
      : { state: ended.state, effects: [] };
  return { state: later.state, effects: [{ type: 'deactivate' }, ...ended.effects, ...later.effects] };
}
