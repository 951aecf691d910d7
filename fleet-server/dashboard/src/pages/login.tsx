import { useEffect, useState } from 'preact/hooks';
import { call } from '../data/client.ts';
import { asProblem, type ProblemError } from '../data/problem.ts';
import { signedOut } from '../data/session.ts';
import { startLive } from '../data/store.ts';
import { Command } from '../ui/command.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';

/** Trades the secret behind the hash for a session cookie, then takes it out of the history. */
export function LoginPage({ secret }: { secret: string }) {
  const [problem, setProblem] = useState<ProblemError>();
  useEffect(() => {
    let left = false;
    call('login', { body: { secret } }).then(
      () => {
        if (left) return;
        signedOut.value = false;
        startLive();
        location.replace('#/');
      },
      (thrown) => setProblem(asProblem(thrown)),
    );
    return () => {
      left = true;
    };
  }, [secret]);
  return (
    <div class="alone">
      <div class="stack">
        <PageHead title={problem ? 'This link does not work' : 'Signing in…'} />
        {problem ? (
          <>
            <Problem problem={problem} />
            <p>A login link works once and for a short time. Get a new one where the server runs:</p>
            <Command text="npx skein login" />
          </>
        ) : (
          <p class="muted" role="status">
            Trading the one-time link for a session.
          </p>
        )}
      </div>
    </div>
  );
}
