import type { TrustDocumentView, TrustWarning } from '@skein/protocol/api.ts';
import { call } from '../data/client.ts';
import { useRequest } from '../data/use-request.ts';
import { Badge, type Tone } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

const REFRESH_MS = 60_000;
const NAMES: Record<string, string> = {
  'image root': 'Root',
  'image targets': 'List of models',
  'image snapshot': 'Snapshot',
  'image timestamp': 'Timestamp',
  'director root': 'Director’s root',
};
const TONES: Record<TrustWarning['severity'], Tone> = { notice: 'accent', warning: 'warn', critical: 'bad' };

/** What devices are shown, who signs it and until when it holds. */
export function TrustCard() {
  const { data } = useRequest(() => call('trust'), ['trust'], REFRESH_MS);
  if (!data || data.documents.length === 0) return null;
  return (
    <section class="card flush" aria-labelledby="trust">
      <header>
        <h2 id="trust">Signatures</h2>
        <span class="muted small">What has expired stops installing, never inference</span>
      </header>
      <table class="table cards">
        <thead>
          <tr>
            <th scope="col">Document</th>
            <th scope="col">Signed by</th>
            <th scope="col" class="number">
              Version
            </th>
            <th scope="col">Expires</th>
          </tr>
        </thead>
        <tbody>
          {data.documents.map((one) => (
            <Row key={`${one.repo} ${one.role}`} one={one} warnings={data.warnings} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ one, warnings }: { one: TrustDocumentView; warnings: TrustWarning[] }) {
  const own = warnings.filter(({ repo, role }) => repo === one.repo && role === one.role);
  return (
    <tr>
      <td class="full">
        <strong>{NAMES[`${one.repo} ${one.role}`]}</strong>{' '}
        {own.map((warning) => (
          <Badge key={warning.code} tone={TONES[warning.severity]} title={`${warning.text} ${warning.fix}`}>
            {warning.severity}
          </Badge>
        ))}
      </td>
      <td data-label="Signed by">
        {one.heldHere ? 'this server' : `${one.threshold} of ${one.keys.length} offline keys`}
      </td>
      <td data-label="Version" class="number">
        {one.version}
      </td>
      <td data-label="Expires">
        <RelativeTime at={one.expiresAt} />
      </td>
    </tr>
  );
}
