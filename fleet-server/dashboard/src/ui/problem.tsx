import type { ProblemError } from '../data/problem.ts';

/** What went wrong, the stable code, and what to do. */
export function Problem({ problem, retry }: { problem: ProblemError; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{problem.message}</strong> <code class="small">{problem.code}</code>
      </p>
      {problem.fix && <p>{marked(problem.fix)}</p>}
      {retry && (
        <p>
          <button type="button" class="button" onClick={retry}>
            Try again
          </button>
        </p>
      )}
    </div>
  );
}

/** Servers write commands in backticks. */
const marked = (text: string) =>
  text.split('`').map((piece, i) => (i % 2 ? <code key={i}>{piece}</code> : piece));
