import { connection, retryNow } from '../data/store.ts';
import { now } from '../data/time.ts';

/** While there is no connection the figures are old: said once, with the time to the next try. */
export function ConnectionBanner() {
  const state = connection.value;
  if (state.state !== 'lost') return <div role="status" class="visually-hidden" />;
  const seconds = Math.max(0, Math.ceil((state.retryAt - now.value) / 1000));
  return (
    <div class="lost">
      <div>
        <span role="status">
          <strong>Connection to the server lost.</strong> What you see may be out of date.
        </span>
        <span>{seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again…'}</span>
        <button type="button" class="button quiet" onClick={retryNow}>
          Try now
        </button>
      </div>
    </div>
  );
}
