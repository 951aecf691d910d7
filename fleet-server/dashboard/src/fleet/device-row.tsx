import type { DeviceSummary } from '@skein/protocol/api.ts';
import { count, score } from '../data/format.ts';
import { liveDevice } from '../data/live.ts';
import { alarmLimit } from '../data/manifests.ts';
import { metricOf } from '../data/metric.ts';
import { hrefTo } from '../routes.ts';
import { Badge } from '../ui/badge.tsx';
import { RelativeTime } from '../ui/relative-time.tsx';
import { Sparkline } from '../ui/sparkline.tsx';
import { VerdictBadge } from '../ui/verdict.tsx';
import { Liveness } from './liveness.tsx';

const SHOWN = 60;

/** One device. It redraws by itself when a reading comes: the table around it does not. */
export function DeviceRow({ device, metric }: { device: DeviceSummary; metric: string }) {
  const live = liveDevice(device.id);
  const readings = live.readings.value.slice(-SHOWN);
  const column = (name: string) => readings.map((r) => r.values[name]).filter((v) => v !== undefined);
  const scores = column('score');
  const health = column(metric);
  const about = metricOf(metric);
  const limit = alarmLimit(device.model);
  const seen = Math.max(device.lastSeen ?? 0, live.state.value?.ts ?? 0);
  return (
    <tr>
      <td class="full">
        <span class="who">
          <Liveness online={device.online} revoked={device.revoked} />
          <div>
            <a href={hrefTo({ page: 'device', id: device.id })}>{device.name || device.id}</a>
            {device.name && device.name !== device.id && <span class="small muted mono">{device.id}</span>}
          </div>
        </span>
      </td>
      <td data-label="Groups" class={device.groups.length ? '' : 'none'}>
        <span class="badges">
          {device.groups.map((group) => (
            <span class="tag" key={group}>
              {group}
            </span>
          ))}
        </span>
      </td>
      <td data-label="Model">{device.model ?? <span class="muted">none yet</span>}</td>
      <td data-label="Score">
        <Trace values={scores} text={score} title="Score" limit={limit} floor={0} ceiling={limit} />
      </td>
      <td data-label={about.title}>
        <Trace
          values={health}
          text={about.format}
          title={about.title}
          floor={about.floor}
          ceiling={about.ceiling}
          second
        />
      </td>
      <td data-label="Predictions" class="number">
        {count(device.predictions)}
      </td>
      <td data-label="Last seen">
        <RelativeTime at={seen || null} />
      </td>
      <td data-label="Verdicts">
        <span class="badges">
          {device.warnings > 0 && (
            <Badge tone="warn">
              {device.warnings} {device.warnings === 1 ? 'warning' : 'warnings'}
            </Badge>
          )}
          <VerdictBadge verdict={device.drift} />
        </span>
      </td>
    </tr>
  );
}

function Trace({
  values,
  text,
  title,
  ...rest
}: {
  values: number[];
  text: (value: number) => string;
  title: string;
  second?: boolean;
  floor?: number | undefined;
  ceiling?: number | undefined;
  limit?: number | undefined;
}) {
  const last = values.at(-1);
  return (
    <span class="trace">
      <Sparkline values={values} title={`${title}, last ${values.length} readings`} {...rest} />
      <b>{last === undefined ? '–' : text(last)}</b>
    </span>
  );
}
