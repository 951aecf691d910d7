/**
 * Samples to warnings, pure. A warning is raised when its metric has been beyond the limit for `raiseAfterMs` without a
 * break, and cleared when it has been inside the easier limit (hysteresis) for `clearAfterMs`. A sample that lacks the
 * metric changes nothing.
 */
import type { Millis } from '@skein/protocol/units.ts';
import type { WarningCode } from '@skein/protocol/warnings.ts';
import type { Metrics } from './probe.ts';

export interface Limits {
  temperatureC: number;
  memoryShare: number;
  diskShare: number;
  loadPerCpu: number;
}

interface Rule {
  code: WarningCode;
  metric: string;
  /** Beyond is above or below the limit. */
  beyond: 'above' | 'below';
  limit: number;
  /** The limit to come back inside. */
  clear: number;
  raiseAfterMs: Millis;
  clearAfterMs: Millis;
  say(value: number, limit: number): string;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)}%`;

export const rulesFor = (limits: Limits): Rule[] => [
  {
    code: 'TEMPERATURE_HIGH',
    metric: 'temp_c',
    beyond: 'above',
    limit: limits.temperatureC,
    clear: limits.temperatureC - 5,
    raiseAfterMs: 10_000,
    clearAfterMs: 30_000,
    say: (value, limit) => `${value.toFixed(1)} °C, limit ${limit} °C`,
  },
  {
    code: 'MEMORY_LOW',
    metric: 'mem_available',
    beyond: 'below',
    limit: limits.memoryShare,
    clear: limits.memoryShare * 1.25,
    raiseAfterMs: 10_000,
    clearAfterMs: 30_000,
    say: (value, limit) => `${percent(value)} of memory available, limit ${percent(limit)}`,
  },
  {
    code: 'DISK_LOW',
    metric: 'disk_free',
    beyond: 'below',
    limit: limits.diskShare,
    clear: limits.diskShare * 1.25,
    raiseAfterMs: 0,
    clearAfterMs: 30_000,
    say: (value, limit) => `${percent(value)} of the disk free, limit ${percent(limit)}`,
  },
  {
    code: 'LOAD_HIGH',
    metric: 'load_per_cpu',
    beyond: 'above',
    limit: limits.loadPerCpu,
    clear: limits.loadPerCpu * 0.75,
    raiseAfterMs: 60_000,
    clearAfterMs: 60_000,
    say: (value, limit) => `load ${value.toFixed(2)} per processor, limit ${limit}`,
  },
  {
    code: 'POWER_LOW',
    metric: 'undervoltage',
    beyond: 'above',
    limit: 0.5,
    clear: 0.5,
    raiseAfterMs: 0,
    clearAfterMs: 60_000,
    say: () => 'the board reports under-voltage',
  },
];

interface RuleState {
  raised: boolean;
  /** Since when the metric asks for the other state; null while it agrees with `raised`. */
  sinceMono: Millis | null;
}
export type JudgeState = Readonly<Record<string, RuleState>>;

export interface Verdict {
  code: WarningCode;
  raised: boolean;
  detail: string;
}

/** One sample later: the next state, and the verdicts that changed. */
export function judge(
  rules: readonly Rule[],
  state: JudgeState,
  metrics: Metrics,
  mono: Millis,
): { state: JudgeState; changed: Verdict[] } {
  const next: Record<string, RuleState> = { ...state };
  const changed: Verdict[] = [];
  for (const rule of rules) {
    const value = metrics[rule.metric];
    if (value === undefined || !Number.isFinite(value)) continue;
    const before = state[rule.code] ?? { raised: false, sinceMono: null };
    const after = stepRule(rule, before, value, mono);
    next[rule.code] = after;
    if (after.raised !== before.raised)
      changed.push({ code: rule.code, raised: after.raised, detail: rule.say(value, rule.limit) });
  }
  return { state: next, changed };
}

function stepRule(rule: Rule, before: RuleState, value: number, mono: Millis): RuleState {
  const limit = before.raised ? rule.clear : rule.limit;
  const beyond = rule.beyond === 'above' ? value > limit : value < limit;
  if (beyond === before.raised) return { raised: before.raised, sinceMono: null };
  const since = before.sinceMono ?? mono;
  const waitMs = before.raised ? rule.clearAfterMs : rule.raiseAfterMs;
  return mono - since >= waitMs
    ? { raised: !before.raised, sinceMono: null }
    : { ...before, sinceMono: since };
}
