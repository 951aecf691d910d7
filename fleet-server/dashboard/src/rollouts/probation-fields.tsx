import { SelectField, TextField } from '../ui/field.tsx';
import type { Draft, Wrong } from './draft.ts';

/** Conditions most people leave as they are; open when one of them is wrong. */
export function ProbationFields({
  draft,
  wrong,
  change,
}: {
  draft: Draft;
  wrong: Wrong;
  change(part: Partial<Draft>): void;
}) {
  const fields = [
    'minInferences',
    'probationTime',
    'probationDeadline',
    'maxErrorPercent',
    'maxLatencyRatio',
    'fresh',
  ] as const;
  const open = fields.some((field) => wrong[field]);
  return (
    <details {...(open ? { open: true } : {})}>
      <summary>Approval, probation and freshness</summary>
      <div class="stack">
        <div class="row">
          <SelectField
            id="draft-approval"
            label="Approval"
            value={draft.approval}
            onChange={(value) => change({ approval: value as Draft['approval'] })}
            options={[
              { value: 'none', text: 'not needed' },
              { value: 'each-stage', text: 'a person, after each stage' },
            ]}
          />
          <SelectField
            id="draft-onInconclusive"
            label="When a stage is inconclusive"
            value={draft.onInconclusive}
            onChange={(value) => change({ onInconclusive: value as Draft['onInconclusive'] })}
            options={[
              { value: 'hold', text: 'hold for a person' },
              { value: 'advance', text: 'advance' },
            ]}
          />
        </div>
        <div class="row">
          <TextField
            id="draft-minInferences"
            label="Inferences in probation"
            numeric
            value={draft.minInferences}
            wrong={wrong.minInferences}
            onInput={(minInferences) => change({ minInferences })}
            hint="Fewer by the deadline: unproven, counts neither way."
          />
          <TextField
            id="draft-probationTime"
            label="Probation lasts"
            value={draft.probationTime}
            wrong={wrong.probationTime}
            onInput={(probationTime) => change({ probationTime })}
          />
          <TextField
            id="draft-probationDeadline"
            label="Probation deadline"
            value={draft.probationDeadline}
            wrong={wrong.probationDeadline}
            onInput={(probationDeadline) => change({ probationDeadline })}
          />
        </div>
        <div class="row">
          <TextField
            id="draft-maxErrorPercent"
            label="Errors tolerated, %"
            numeric
            value={draft.maxErrorPercent}
            wrong={wrong.maxErrorPercent}
            onInput={(maxErrorPercent) => change({ maxErrorPercent })}
          />
          <TextField
            id="draft-maxLatencyRatio"
            label="Latency, times the old"
            numeric
            value={draft.maxLatencyRatio}
            wrong={wrong.maxLatencyRatio}
            onInput={(maxLatencyRatio) => change({ maxLatencyRatio })}
          />
          <TextField
            id="draft-fresh"
            label="Orders refreshed within"
            value={draft.fresh}
            wrong={wrong.fresh}
            onInput={(fresh) => change({ fresh })}
            hint="Empty: a device may activate on old orders."
          />
        </div>
      </div>
    </details>
  );
}
