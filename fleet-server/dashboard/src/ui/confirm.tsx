import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { asProblem, type ProblemError } from '../data/problem.ts';
import { Problem } from './problem.tsx';

export interface Confirmation {
  title: string;
  /** What will happen, to whom, and whether it can be undone. */
  text: string;
  verb: string;
  danger: boolean;
  act(): Promise<unknown>;
}

/** A modal native dialog: Escape and Cancel do nothing, a failure is shown in place. Fields may stand in it. */
export function Confirm({
  confirmation,
  onClose,
  children,
}: {
  confirmation: Confirmation;
  onClose(): void;
  children?: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemError>();
  useEffect(() => dialog.current?.showModal(), []);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await confirmation.act();
      dialog.current?.close();
    } catch (thrown) {
      setProblem(asProblem(thrown));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="confirm-title">
      <form onSubmit={submit}>
        <h2 id="confirm-title">{confirmation.title}</h2>
        <p>{confirmation.text}</p>
        {children}
        {problem && <Problem problem={problem} />}
        <div class="actions">
          <button
            type="submit"
            class={confirmation.danger ? 'button primary danger' : 'button primary'}
            disabled={busy}
          >
            {busy ? 'Working…' : confirmation.verb}
          </button>
          <button type="button" class="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
        </div>
      </form>
    </dialog>
  );
}
