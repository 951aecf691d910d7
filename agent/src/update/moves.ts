/** The moves that more than one row of the update table makes: entering a phase, retrying, ending an order. */
import { ERROR_CODES, type ErrorCode } from '@skein/protocol/errors.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Hold } from './gate.ts';
import { NO_STATS, type ProbationStats } from './ports.ts';
import { judgeEveryMs } from './probation.ts';
import { fallenReport, reportOf, withReport } from './reports.ts';
import type {
  BusyPhase,
  Ending,
  Fault,
  OrdersSeen,
  PhaseOf,
  Release,
  Step,
  UpdateEffect,
  UpdateState,
} from './state.ts';

const REMEMBERED_MAX = 64;
const DETAIL_MAX = 250;
const HOLD_MIN_MS: Millis = 1_000;
const HOLD_MAX_MS: Millis = 300_000;

type Refused = NonNullable<OrdersSeen['refused']>;
/** Others (expired, unreadable, not there yet, documents that do not fit each other) only keep from beginning. */
const isFinal = ({ final }: Refused): boolean => final === true;

/** Does the director still want this order, even if trust can not vouch for it just now? */
export const stillWanted = (order: string, { agreed, refused }: OrdersSeen): boolean =>
  agreed?.order.id === order || (refused?.order.id === order && !isFinal(refused));

/** Orders seen by an idle machine: carry out a new one, refuse one that trust refused, leave one that is over. */
export function begin(state: UpdateState, view: OrdersSeen): Step {
  const { agreed, refused } = view;
  if (agreed && !isOver(state, agreed.order.id))
    return enter(state, { name: 'fetching', agreed, attempt: 0, doubts: 0 });
  if (!refused || !isFinal(refused) || isOver(state, refused.order.id)) return { state, effects: [] };
  const about = { order: refused.order, model: state.model, version: refused.order.version };
  const why = { reason: refused.code, detail: refused.message };
  const made = withReport(
    remember(state, refused.order, { outcome: 'refused', ...why }),
    reportOf(about, 'refused', state.phase, undefined, why),
  );
  return { state: made.state, effects: [made.effect] };
}

/** Takes up a phase: its milestone report, if it has one, and its work. */
export function enter(state: UpdateState, phase: BusyPhase): Step {
  const { trouble: _, ...going } = phase;
  const entered = { ...state, phase: going as BusyPhase };
  const milestone = MILESTONE[phase.name];
  if (!milestone) return { state: entered, effects: workOf(phase, state.committed) };
  // Why this variant: said once, when the device has chosen.
  const detail = phase.name === 'ready' ? (phase.release.reason ?? null) : null;
  const report = reportOf(aboutPhase(state, phase), milestone, phase, NO_STATS, { reason: null, detail });
  const { state: told, effect } = withReport(entered, report);
  return { state: told, effects: [effect, ...workOf(phase, state.committed)] };
}

const MILESTONE: Partial<Record<BusyPhase['name'], 'started' | 'downloaded' | 'preflighted' | 'probation'>> =
  {
    fetching: 'started',
    preflight: 'downloaded',
    ready: 'preflighted',
    probation: 'probation',
  };

/** What a phase does, from the start: also how a retry and a resume take it up again. */
export function workOf(phase: BusyPhase, committed: Release | null): UpdateEffect[] {
  const order = phase.agreed.order.id;
  switch (phase.name) {
    case 'fetching':
      return [{ type: 'fetch', agreed: phase.agreed }];
    case 'downloading':
      return [{ type: 'download', order, release: phase.release }];
    case 'preflight':
      return [{ type: 'preflight', order, release: phase.release }];
    case 'ready':
      return [{ type: 'look' }];
    case 'activating':
      return [{ type: 'activate', purpose: 'trial', order, release: phase.release }];
    case 'probation':
      return [{ type: 'judge', order, afterMs: judgeEveryMs(phase.agreed.order.probation) }];
    case 'reverting':
      return committed ? [{ type: 'activate', purpose: 'revert', order, release: committed }] : [];
  }
}

/** @param why what kept it from going on, for people */
export function retry(state: UpdateState, phase: BusyPhase, why: Pick<Fault, 'code' | 'message'>): Step {
  const attempt = phase.attempt + 1;
  const order = phase.agreed.order.id;
  const trouble = { code: why.code, detail: why.message.slice(0, DETAIL_MAX) };
  return {
    state: { ...state, phase: { ...phase, attempt, trouble } },
    effects: [{ type: 'backoff', order, attempt }],
  };
}

/** Waits until it may go on. Not a failure: it is looked at again soon enough to notice a clock that was set. */
export function defer(state: UpdateState, phase: BusyPhase, { code, detail, forMs }: Hold): Step {
  const afterMs = Math.min(HOLD_MAX_MS, Math.max(HOLD_MIN_MS, forMs));
  const same = phase.trouble?.code === code && phase.trouble.detail === detail;
  return {
    state: same ? state : { ...state, phase: { ...phase, trouble: { code, detail } } },
    effects: [{ type: 'defer', order: phase.agreed.order.id, afterMs }],
  };
}

/** The order is no longer what this device should do; what has not run is dropped, what runs is taken back. */
export function cancel(
  state: UpdateState,
  phase: PhaseOf<Exclude<BusyPhase['name'], 'reverting'>>,
  view: OrdersSeen,
): Step {
  const ending = endingBy(phase, view);
  if (phase.name === 'activating' || phase.name === 'probation') return undo(state, phase, ending, NO_STATS);
  const dropped = conclude(state, ending);
  const next = begin(dropped.state, view);
  return { state: next.state, effects: [...dropped.effects, ...next.effects] };
}

function endingBy(phase: BusyPhase, { agreed, refused }: OrdersSeen): Ending {
  const running = phase.name === 'activating' || phase.name === 'probation';
  if (refused?.order.id === phase.agreed.order.id) {
    return { outcome: running ? 'reverted' : 'refused', reason: refused.code, detail: refused.message };
  }
  const next = agreed ?? refused;
  return next
    ? { outcome: 'cancelled', reason: 'ORDER_SUPERSEDED', detail: `by order ${next.order.id}` }
    : { outcome: 'cancelled', reason: 'ORDER_WITHDRAWN', detail: null };
}

/** Takes a model back that did harm, and quarantines its bytes. */
export function revert(
  state: UpdateState,
  phase: PhaseOf<'activating' | 'probation'>,
  code: string,
  detail: string,
  stats: ProbationStats,
): Step {
  return undo(
    quarantineTrial(state, phase.release, code),
    phase,
    { outcome: 'reverted', reason: code, detail },
    stats,
  );
}

function undo(
  state: UpdateState,
  phase: PhaseOf<'activating' | 'probation'>,
  ending: Ending,
  stats: ProbationStats,
): Step {
  if (state.committed)
    return enter(state, { ...phase, name: 'reverting', ending, stats, attempt: 0, doubts: 0 });
  const ended = conclude(state, ending, stats);
  return { state: ended.state, effects: [{ type: 'deactivate' }, ...ended.effects] };
}

/** Ends the order because of the model itself, with nothing to take back. */
export function giveUp(
  state: UpdateState,
  code: string,
  detail: string | null,
  outcome: 'refused' | 'reverted' = 'refused',
): Step {
  const { phase } = state;
  const barred = 'release' in phase ? quarantineTrial(state, phase.release, code) : state;
  return conclude(barred, { outcome, reason: code, detail });
}

/** The one place where an order ends: reported, remembered, cleaned up, and the next one looked for. */
export function conclude(state: UpdateState, ending: Ending, stats: ProbationStats = NO_STATS): Step {
  const { phase } = state;
  if (phase.name === 'idle') return { state, effects: [] };
  const report = reportOf(aboutPhase(state, phase), ending.outcome, phase, stats, ending);
  const over = remember(state, phase.agreed.order, ending);
  const stays = ending.outcome === 'committed' || ending.outcome === 'unproven';
  const kept = stays && 'release' in phase ? promote(over, phase.release) : over;
  const made = withReport({ ...kept, phase: { name: 'idle' } }, report);
  return { state: made.state, effects: [made.effect, { type: 'prune' }, { type: 'look' }] };
}

/** The committed release would not start: the one before takes its place, and the order that brought it is reverted. */
export function fallBack(state: UpdateState, code: string, detail: string): Step {
  const { committed, previous } = state;
  if (!committed) return { state, effects: [] };
  const told = withReport(state, fallenReport(state.model, committed, code, detail));
  if (!previous) return { state: told.state, effects: [told.effect] };
  return {
    state: { ...quarantine(told.state, committed, code), committed: previous, previous: null, bootStarts: 1 },
    effects: [
      told.effect,
      { type: 'activate', purpose: 'boot', order: previous.order.id, release: previous },
    ],
  };
}

const isOver = (state: UpdateState, order: string): boolean => state.ended.some((e) => e.order === order);

const remember = (state: UpdateState, { id, version }: Order, ending: Ending): UpdateState => {
  const { outcome, reason, detail } = ending;
  const others = state.ended.filter((e) => e.order !== id);
  return {
    ...state,
    ended: [...others, { order: id, outcome }].slice(-REMEMBERED_MAX),
    last: { order: id, version, outcome, reason, detail: detail?.slice(0, DETAIL_MAX) ?? null },
  };
};

/** What may be the fault of the manifest or of the golden vectors: the same bytes packed rightly may be good. */
const PACKERS_FAULT: readonly string[] = [
  'GOLDEN_MISMATCH',
  'BUNDLE_INVALID',
  'MANIFEST_INVALID',
  'MODEL_INVALID',
  'TENSOR_INVALID',
] satisfies ErrorCode[];

/** Only what the model did bars its bytes: not how it was packed, nor a wrong byte on this disk or on the way here. */
function quarantine(state: UpdateState, release: Release, code: string): UpdateState {
  if (ERROR_CODES[code as ErrorCode] !== 'operator' || PACKERS_FAULT.includes(code)) return state;
  const { sha256 } = release.model;
  const others = state.quarantined.filter((q) => q.sha256 !== sha256);
  return { ...state, quarantined: [...others, { sha256, code }].slice(-REMEMBERED_MAX) };
}

/** Bars the bytes of a trial. Those of the last good release stay: they are proven here, under another manifest. */
const quarantineTrial = (state: UpdateState, release: Release, code: string): UpdateState =>
  release.model.sha256 === state.committed?.model.sha256 ? state : quarantine(state, release, code);

function promote(state: UpdateState, release: Release): UpdateState {
  const same = state.committed?.model.sha256 === release.model.sha256;
  return { ...state, committed: release, previous: same ? state.previous : state.committed, bootStarts: 0 };
}

const aboutPhase = (state: UpdateState, phase: BusyPhase) => ({
  order: phase.agreed.order,
  model: state.model,
  version: phase.agreed.order.version,
});
