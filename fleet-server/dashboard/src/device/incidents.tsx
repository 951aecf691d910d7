import type { DeviceView } from '@skein/protocol/api.ts';
import type { Severity } from '@skein/protocol/warnings.ts';
import { duration } from '../data/format.ts';
import { Badge, type Tone } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

const TONE: Record<Severity, Tone> = { notice: 'plain', warning: 'warn', critical: 'bad' };
const SHOWN = 20;

/** Open ones first, then the newest. */
export function Incidents({ incidents }: { incidents: DeviceView['incidents'] }) {
  const sorted = [...incidents].sort(
    (a, b) => Number(a.end_time !== null) - Number(b.end_time !== null) || b.start_time - a.start_time,
  );
  return (
    <section class="card" aria-labelledby="incidents-title">
      <header>
        <h2 id="incidents-title">Incidents</h2>
      </header>
      {sorted.length === 0 && <p class="muted">None: nothing has been wrong with this device.</p>}
      <ul class="stack" aria-live="polite">
        {sorted.slice(0, SHOWN).map((incident) => (
          <li key={incident.id}>
            <Badge tone={incident.end_time === null ? TONE[incident.severity] : 'plain'}>
              {incident.severity}
            </Badge>{' '}
            <strong>{words(incident.code)}</strong>
            {incident.source && <span class="muted"> · {incident.source}</span>}
            <div class="small muted">
              {incident.detail && <span>{incident.detail} · </span>}
              {incident.end_time === null ? (
                <>
                  open since <RelativeTime at={incident.start_time} />
                </>
              ) : (
                <>
                  lasted {duration(incident.end_time - incident.start_time)}, ended{' '}
                  <RelativeTime at={incident.end_time} />
                </>
              )}
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}

const words = (code: string): string => {
  const text = code.toLowerCase().replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};
