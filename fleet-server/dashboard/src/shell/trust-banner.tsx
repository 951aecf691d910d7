import { call } from '../data/client.ts';
import { useRequest } from '../data/use-request.ts';

const REFRESH_MS = 600_000;

/** On every page, because what expires stops every installation, and somebody with a key has to be found. */
export function TrustBanner() {
  const { data } = useRequest(() => call('trust'), ['trust'], REFRESH_MS);
  const [worst, ...others] = (data?.warnings ?? []).filter(({ severity }) => severity !== 'notice');
  if (!worst) return null;
  return (
    <div class="lost">
      <div>
        <span role="status">
          <strong>{worst.text}</strong> {worst.fix.replaceAll('`', '')}
        </span>
        {others.length > 0 && <a href="#/models">and {others.length} more</a>}
      </div>
    </div>
  );
}
