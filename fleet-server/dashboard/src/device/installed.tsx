import type { DeviceView } from '@skein/protocol/api.ts';
import { shortHash } from '../data/format.ts';
import { Badge } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

interface Line {
  model: string;
  sha256: string;
  variant?: string;
  placement?: string;
  since?: number;
  proven: boolean;
}

/** Models that the device proved by a signed report, and those it only says it runs. */
function linesOf({ installed, hello }: DeviceView): Line[] {
  const proven = installed.map((each): Line => {
    const said = hello?.models.find((model) => model.sha256 === each.sha256);
    return {
      model: `${each.model}@${each.version}`,
      sha256: each.sha256,
      since: each.since,
      proven: true,
      ...(said ? { variant: said.variant, placement: said.placement } : {}),
    };
  });
  const known = new Set(installed.map((each) => each.sha256));
  const said = (hello?.models ?? [])
    .filter((model) => !known.has(model.sha256))
    .map(({ name, version, ...rest }): Line => ({ model: `${name}@${version}`, proven: false, ...rest }));
  return [...proven, ...said];
}

export function Installed({ device }: { device: DeviceView }) {
  const lines = linesOf(device);
  return (
    <section class="card" aria-labelledby="installed-title">
      <header>
        <h2 id="installed-title">Models</h2>
      </header>
      {lines.length === 0 && <p class="muted">No model runs here yet; start a rollout.</p>}
      <ul class="stack">
        {lines.map((line) => (
          <li key={line.sha256}>
            <strong>{line.model}</strong>{' '}
            {line.proven ? (
              <Badge tone="good" title="A device-signed report named the hash of the bytes it loaded">
                proven
              </Badge>
            ) : (
              <Badge title="As the device says; no signed report yet">reported</Badge>
            )}
            <div class="small muted">
              <code title={line.sha256}>{shortHash(line.sha256)}</code>
              {line.variant && <> · {line.variant}</>}
              {line.placement && <> · {line.placement}</>}
              {line.since && (
                <>
                  {' '}
                  · since <RelativeTime at={line.since} />
                </>
              )}
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
