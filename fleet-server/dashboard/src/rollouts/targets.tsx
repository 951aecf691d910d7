import type { RolloutTarget } from '@skein/protocol/rollout.ts';
import { useState } from 'preact/hooks';
import { devices } from '../data/store.ts';
import { hrefTo } from '../routes.ts';
import { Badge } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';
import { TargetBadge } from './state-badge.tsx';

const ROWS = 100;
/** Troubles first, then what is moving, then the rest. */
const ORDER = [
  'failed',
  'unconfirmed',
  'unproven',
  'probation',
  'updating',
  'ordered',
  'waiting',
  'cancelled',
  'committed',
];

export function Targets({ targets }: { targets: readonly RolloutTarget[] }) {
  const [rows, setRows] = useState(ROWS);
  const sorted = [...targets].sort(
    (a, b) =>
      ORDER.indexOf(a.state) - ORDER.indexOf(b.state) ||
      a.stage - b.stage ||
      a.device.localeCompare(b.device),
  );
  return (
    <section class="card flush" aria-labelledby="targets-title">
      <header>
        <h2 id="targets-title">Devices</h2>
        <span class="muted small">
          {targets.length} {targets.length === 1 ? 'target' : 'targets'}
        </span>
      </header>
      <table class="table cards">
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">State</th>
            <th scope="col">Stage</th>
            <th scope="col">Reason</th>
            <th scope="col">Changed</th>
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, rows).map((target) => (
            <tr key={target.device}>
              <td class="full">
                <span class="who">
                  <a href={hrefTo({ page: 'device', id: target.device })}>
                    {devices.value?.get(target.device)?.name || target.device}
                  </a>
                </span>
              </td>
              <td data-label="State">
                <TargetBadge state={target.state} />
              </td>
              <td data-label="Stage">
                {target.stage + 1}{' '}
                {target.control && (
                  <Badge title="Stays on the old model for comparison; released last">control</Badge>
                )}
              </td>
              <td data-label="Reason" class={target.reason ? 'full' : 'none'}>
                {target.reason}
              </td>
              <td data-label="Changed">
                <RelativeTime at={target.updatedAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > rows && (
        <p class="toolbar">
          <button type="button" class="button" onClick={() => setRows(rows + ROWS)}>
            Show more
          </button>
        </p>
      )}
    </section>
  );
}
