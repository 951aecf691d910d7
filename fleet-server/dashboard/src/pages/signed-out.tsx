import { Command } from '../ui/command.tsx';
import { PageHead } from '../ui/page-head.tsx';

/** Any 401 leads here. There is no password to type: a link is made where the operator's key is. */
export function SignedOutPage() {
  return (
    <div class="alone">
      <section class="card stack">
        <PageHead title="You are signed out" />
        <p>
          This browser has no session, or it has ended. On the machine that runs the server, in its folder,
          make a one-time link and open it here:
        </p>
        <Command text="npx skein login" />
        <p class="muted small">A link works once. Nothing else gets in: there are no passwords to guess.</p>
      </section>
    </div>
  );
}
