/** States and events of the update machine to talk about in tests. */
import {
  type AgreedOrder,
  NO_STATS,
  type PreflightVerdict,
  type ProbationStats,
} from '@skein/agent/update/ports.ts';
import {
  type BusyPhase,
  newUpdateState,
  type OrdersSeen,
  type Release,
  type UpdateEvent,
  type UpdateState,
} from '@skein/agent/update/state.ts';

export const MODEL = 'host';
const hash = (digit: string): string => digit.repeat(64);

export const agreedOrder = (
  id: string,
  version = '1.1.0',
  freshWithinMs: number | null = 600_000,
): AgreedOrder => ({
  order: {
    id,
    rollout: 'r-one',
    model: MODEL,
    version,
    probation: { minInferences: 20, minMs: 1_000, deadlineMs: 60_000, maxErrorRate: 0.1, maxLatencyRatio: 4 },
    freshWithinMs,
  },
  target: { path: `models/host/${version}/manifest.json`, sizeBytes: 700, sha256: hash('c') },
  custom: { model: MODEL, version, release: 2, floor: 0, tags: [] },
});

export const releaseOfOrder = (id: string, version: string, digit: string): Release => ({
  version,
  manifest: { sha256: hash(digit === 'a' ? 'c' : 'd'), size: 700 },
  variant: 'int8',
  model: { sha256: hash(digit), size: 1_000 },
  golden: { sha256: hash(digit === 'a' ? 'e' : 'f'), size: 90 },
  order: { id, rollout: 'r-one' },
});

export const AGREED = agreedOrder('o-new');
export const NEW = releaseOfOrder('o-new', '1.1.0', 'a');
export const OLD = releaseOfOrder('o-old', '1.0.0', 'b');
export const GOOD_STATS: ProbationStats = {
  inferences: 30,
  errors: 0,
  notFinite: 0,
  p95LatencyUs: 900,
  p95AtLeastUs: 800,
};

export const GOOD_VERDICT: PreflightVerdict = {
  ok: true,
  code: null,
  detail: null,
  loaded: NEW.model.sha256,
  golden: { passed: 4, total: 4 },
  environment: false,
};

const onOrder = { agreed: AGREED, attempt: 0, doubts: 0 };
const onTrial = {
  ...onOrder,
  release: NEW,
  proof: { loaded: NEW.model.sha256, golden: { passed: 4, total: 4 } },
  starts: 1,
  previousP95Us: null,
};

/** One of each phase, with 1.0.0 as the last good release. */
export const PHASES: { [N in BusyPhase['name']]: Extract<BusyPhase, { name: N }> } = {
  fetching: { name: 'fetching', ...onOrder },
  downloading: { name: 'downloading', ...onOrder, release: NEW },
  preflight: { name: 'preflight', ...onOrder, release: NEW },
  ready: { name: 'ready', ...onTrial, starts: 0 },
  activating: { name: 'activating', ...onTrial },
  probation: { name: 'probation', ...onTrial, loaded: NEW.model.sha256, sinceMono: 999_000 },
  reverting: {
    name: 'reverting',
    ...onTrial,
    ending: { outcome: 'reverted', reason: 'PROBATION_ERRORS', detail: null },
    stats: NO_STATS,
  },
};

export const stateIn = (
  name: BusyPhase['name'] | 'idle',
  change: Partial<UpdateState> = {},
): UpdateState => ({
  ...newUpdateState(MODEL),
  committed: OLD,
  phase: name === 'idle' ? { name } : PHASES[name],
  ...change,
});

export const seen = (
  agreed: AgreedOrder | null,
  refused: OrdersSeen['refused'] = null,
  refreshedMono = 0,
): UpdateEvent => ({
  type: 'orders',
  view: { agreed, refused, refreshedMono },
});
