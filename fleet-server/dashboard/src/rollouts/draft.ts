/** The form as typed text → a rollout spec, or the first thing wrong with each field. Pure; the server checks again. */
import type { RolloutSpec } from '@skein/protocol/rollout.ts';
import { parseDuration } from '@skein/protocol/units.ts';

export interface Draft {
  /** `name@version`. */
  model: string;
  group: string;
  stages: string;
  soak: string;
  deadline: string;
  maxFailures: string;
  approval: RolloutSpec['approval'];
  onInconclusive: RolloutSpec['onInconclusive'];
  minInferences: string;
  probationTime: string;
  probationDeadline: string;
  maxErrorPercent: string;
  maxLatencyRatio: string;
  fresh: string;
}

export const FIRST_DRAFT: Draft = {
  model: '',
  group: 'all',
  stages: '1, 10%, 100%',
  soak: '30s',
  deadline: '30m',
  maxFailures: '0',
  approval: 'none',
  onInconclusive: 'hold',
  minInferences: '10',
  probationTime: '10s',
  probationDeadline: '10m',
  maxErrorPercent: '1',
  maxLatencyRatio: '3',
  fresh: '10m',
};

export type Wrong = Partial<Record<keyof Draft, string>>;

/** The protocol's STAGE_PATTERN; kept equal by a test, because the bundle holds no schema. */
export const STAGE = /^([1-9][0-9]{0,5}|(100|[1-9][0-9]?)%)$/;
export const splitStages = (text: string): string[] => text.split(/[\s,;→]+/).filter(Boolean);

/** Cumulative devices after each stage: a percent rounds up, so a small group's first stage is never empty. */
export const stageSizes = (stages: readonly string[], devices: number): number[] =>
  stages.map((stage) =>
    Math.min(
      devices,
      stage.endsWith('%') ? Math.ceil((devices * Number.parseInt(stage, 10)) / 100) : Number(stage),
    ),
  );

function wrongStages(stages: readonly string[]): string | undefined {
  if (stages.length === 0) return 'Name at least one stage, such as 100%.';
  if (stages.length > 20) return 'At most 20 stages.';
  const bad = stages.find((stage) => !STAGE.test(stage));
  if (bad) return `“${bad}” is neither a count such as 5 nor a percentage such as 10%.`;
  for (const kind of [stages.filter((s) => s.endsWith('%')), stages.filter((s) => !s.endsWith('%'))])
    if (
      kind.some((stage, i) => i > 0 && Number.parseInt(stage, 10) <= Number.parseInt(kind[i - 1] ?? '', 10))
    )
      return 'Stages are cumulative: each must be larger than the one before.';
  return undefined;
}

const DURATION_HINT = 'Write a duration such as 30s, 10m or 2h.';

/** Either the spec or what is wrong, by field. */
export function readDraft(draft: Draft): { spec: RolloutSpec } | { wrong: Wrong } {
  const wrong: Wrong = {};
  const time = (field: keyof Draft, least: number): number => {
    const value = parseDuration(draft[field].trim());
    if (value === undefined) wrong[field] = DURATION_HINT;
    else if (value < least) wrong[field] = `At least ${least} ms.`;
    return value ?? 0;
  };
  const number = (field: keyof Draft, least: number, most: number, whole: boolean): number => {
    const value = draft[field].trim() === '' ? Number.NaN : Number(draft[field]);
    if (!(value >= least && value <= most) || (whole && !Number.isInteger(value)))
      wrong[field] = `A${whole ? ' whole' : ''} number from ${least} to ${most}.`;
    return value;
  };
  const [model = '', version = ''] = draft.model.split('@');
  if (!model || !version) wrong.model = 'Choose a published model.';
  if (!draft.group) wrong.group = 'Choose a group.';
  const stages = splitStages(draft.stages);
  const stagesWrong = wrongStages(stages);
  if (stagesWrong) wrong.stages = stagesWrong;
  const spec: RolloutSpec = {
    model,
    version,
    group: draft.group,
    stages,
    soakMs: time('soak', 0),
    stageDeadlineMs: time('deadline', 1000),
    onInconclusive: draft.onInconclusive,
    maxFailures: number('maxFailures', 0, 100_000, true),
    approval: draft.approval,
    probation: {
      minInferences: number('minInferences', 1, 1_000_000, true),
      minMs: time('probationTime', 0),
      deadlineMs: time('probationDeadline', 1),
      maxErrorRate: number('maxErrorPercent', 0, 100, false) / 100,
      maxLatencyRatio: number('maxLatencyRatio', 0.1, 1000, false),
    },
    freshWithinMs: draft.fresh.trim() === '' ? null : time('fresh', 1000),
  };
  return Object.keys(wrong).length ? { wrong } : { spec };
}
