import { useEffect } from 'preact/hooks';
import { call } from '../data/client.ts';
import { liveDevice } from '../data/live.ts';
import { devices, incidentTicks } from '../data/store.ts';
import { useRequest } from '../data/use-request.ts';
import { Hardware } from '../device/hardware.tsx';
import { HealthPlots } from '../device/health-plots.tsx';
import { Incidents } from '../device/incidents.tsx';
import { Installed } from '../device/installed.tsx';
import { Ledger } from '../device/ledger.tsx';
import { Manage } from '../device/manage.tsx';
import { Now } from '../device/now.tsx';
import { PredictionPlot } from '../device/prediction-plot.tsx';
import { hrefTo } from '../routes.ts';
import { Badge } from '../ui/badge.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';
import { VerdictBadge } from '../ui/verdict.tsx';

const REFRESH_MS = 5000;
const WATCH_EVERY_MS = 30_000;

export function DevicePage({ id }: { id: string }) {
  const { data, problem, reload } = useRequest(
    (signal) => call('showDevice', { params: { id }, signal }),
    ['device', id],
    REFRESH_MS,
  );
  const metered = data?.hello?.profile === 'metered';
  // It tells live state only while somebody is here.
  useRequest(
    () => (metered ? call('watchDevice', { params: { id } }) : Promise.resolve(undefined)),
    ['watch', id, metered],
    WATCH_EVERY_MS,
  );
  const ticks = incidentTicks.value.get(id);
  useEffect(() => {
    if (ticks) reload();
  }, [ticks, reload]);

  const crumb = <a href={hrefTo({ page: 'fleet' })}>Fleet</a>;
  if (!data)
    return (
      <>
        <PageHead title={id} crumb={crumb} />
        {problem ? <Problem problem={problem} retry={reload} /> : <p class="loading">Loading the device…</p>}
      </>
    );
  // The event stream tells the summary sooner than the next reading of the whole page does.
  const summary = devices.value?.get(id) ?? data;
  const state = liveDevice(id).state.value ?? data.state;
  const model = summary.model ?? data.model;
  return (
    <>
      <PageHead title={summary.name || id} crumb={crumb}>
        <span class="badges" role="status">
          <Badge tone={summary.online ? 'good' : 'plain'}>
            {summary.revoked ? 'revoked' : summary.online ? 'online' : 'offline'}
          </Badge>
          <VerdictBadge verdict={summary.drift} />
          {summary.groups.map((group) => (
            <span class="tag" key={group}>
              {group}
            </span>
          ))}
        </span>
        <span class="actions">
          <a class="button" href={hrefTo({ page: 'drift', device: id })}>
            Drift
          </a>
          <Manage device={summary} />
        </span>
      </PageHead>
      {problem && <Problem problem={problem} retry={reload} />}
      {metered && (
        <p class="muted">
          On a metered link: batches come every half hour, and silence is noticed after about 23 minutes.
        </p>
      )}
      <Now device={{ ...data, model }} state={state} predictions={summary.predictions} />
      <PredictionPlot id={id} model={model} />
      <HealthPlots id={id} />
      <div class="grid wide">
        <div class="stack">
          <Ledger streams={data.streams} />
          <Installed device={data} />
        </div>
        <div class="stack">
          <Incidents incidents={data.incidents} />
          <Hardware device={data} />
        </div>
      </div>
    </>
  );
}
