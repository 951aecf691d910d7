import type { DeviceSummary } from '@skein/protocol/api.ts';
import { useState } from 'preact/hooks';
import { metricOf } from '../data/metric.ts';
import { DeviceRow } from './device-row.tsx';

/** More rows than this are shown on demand: live rows cost work each second. */
const ROWS = 50;

export function DeviceTable({ devices, metric }: { devices: DeviceSummary[]; metric: string }) {
  const [rows, setRows] = useState(ROWS);
  const shown = devices.slice(0, rows);
  return (
    <>
      <table class="table cards">
        <caption class="visually-hidden">Devices, those that need attention first</caption>
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">Groups</th>
            <th scope="col">Model</th>
            <th scope="col">Score</th>
            <th scope="col">{metricOf(metric).title}</th>
            <th scope="col" class="number">
              Predictions
            </th>
            <th scope="col">Last seen</th>
            <th scope="col">Verdicts</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((device) => (
            <DeviceRow key={device.id} device={device} metric={metric} />
          ))}
        </tbody>
      </table>
      {devices.length === 0 && <p class="loading">No device matches.</p>}
      {devices.length > rows && (
        <p class="toolbar">
          <button type="button" class="button" onClick={() => setRows(rows + ROWS)}>
            Show {Math.min(ROWS, devices.length - rows)} more of {devices.length}
          </button>
        </p>
      )}
    </>
  );
}
