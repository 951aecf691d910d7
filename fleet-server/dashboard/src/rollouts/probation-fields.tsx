import { SelectField, TextField } from '../ui/field.tsx';
import type { Draft } from './draft.ts';
import { type DraftEditor, draftText } from './draft-text.ts';

/** Conditions most people leave as they are; open when one of them is wrong. */
export function ProbationFields(editor: DraftEditor) {
  const { draft, wrong, change } = editor;
  const text = draftText(editor);
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
            {...text('minInferences')}
            label="Inferences in probation"
            numeric
            hint="Fewer by the deadline: unproven, counts neither way."
          />
          <TextField {...text('probationTime')} label="Probation lasts" />
          <TextField {...text('probationDeadline')} label="Probation deadline" />
        </div>
        <div class="row">
          <TextField {...text('maxErrorPercent')} label="Errors tolerated, %" numeric />
          <TextField {...text('maxLatencyRatio')} label="Latency, times the old" numeric />
          <TextField
            {...text('fresh')}
            label="Orders refreshed within"
            hint="Empty: a device may activate on old orders."
          />
        </div>
      </div>
    </details>
  );
}
