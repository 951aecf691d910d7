import type { DeviceView } from '@skein/protocol/api.ts';
import type { StateMessage } from '@skein/protocol/messages.ts';
import { count, duration, score } from '../data/format.ts';
import { Badge } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';

/** The device at this moment: what it last said, and how much the server holds of it. */
export function Now({
  device,
  state,
  predictions,
}: {
  device: DeviceView;
  state: StateMessage | null;
  predictions: number;
}) {
  const alarm = state?.alarm === 1;
  return (
    <section class="card" aria-label="Now">
      <dl class="figures">
        <div>
          <dt>State</dt>
          <dd>
            {state?.label ?? '–'} {alarm && <Badge tone="bad">alarm</Badge>}
          </dd>
        </div>
        <div>
          <dt>Score</dt>
          <dd>{state?.score === undefined ? '–' : score(state.score)}</dd>
        </div>
        <div>
          <dt>Latency</dt>
          <dd>{state?.latency_ms === undefined ? '–' : latency(state.latency_ms)}</dd>
        </div>
        <div>
          <dt>Predictions stored</dt>
          <dd aria-live="off">{count(predictions)}</dd>
        </div>
        <div>
          <dt>Last seen</dt>
          <dd>
            <RelativeTime at={Math.max(device.lastSeen ?? 0, state?.ts ?? 0)} />
          </dd>
        </div>
        <div>
          <dt>Model</dt>
          <dd>{device.model ?? '–'}</dd>
        </div>
      </dl>
    </section>
  );
}

const latency = (ms: number): string => {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return ms < 1000 ? `${ms.toFixed(1)} ms` : duration(ms);
};
