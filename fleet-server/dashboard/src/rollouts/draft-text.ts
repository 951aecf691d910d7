/** Binds one text of the draft to its input: value, what is wrong with it, and the change. */
import type { Draft, Wrong } from './draft.ts';

export interface DraftEditor {
  draft: Draft;
  wrong: Wrong;
  change(part: Partial<Draft>): void;
}

/** Fields a person types; the others are chosen from a list. */
type Typed = Exclude<keyof Draft, 'model' | 'group' | 'approval' | 'onInconclusive'>;

/** The props of the `TextField` for `field`; its id is what a wrong draft is focused by. */
export const draftText =
  ({ draft, wrong, change }: DraftEditor) =>
  (field: Typed) => ({
    id: `draft-${field}`,
    value: draft[field],
    wrong: wrong[field],
    onInput: (value: string) => change({ [field]: value }),
  });
