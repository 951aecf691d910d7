import { call } from '../data/client.ts';
import { deviceList } from '../data/store.ts';
import { useRequest } from '../data/use-request.ts';
import { DriftSection } from '../drift/drift-section.tsx';
import { goTo } from '../router.ts';
import { Empty } from '../ui/empty.tsx';
import { PageHead } from '../ui/page-head.tsx';
import { Problem } from '../ui/problem.tsx';

const REFRESH_MS = 15_000;

export function DriftPage({ device }: { device?: string | undefined }) {
  const { data, problem, reload } = useRequest(
    (signal) => call('drift', { query: device ? { device } : {}, signal }),
    ['drift', device],
    REFRESH_MS,
  );
  return (
    <>
      <PageHead title="Drift">
        <span class="actions">
          <Scope device={device} />
        </span>
      </PageHead>
      {problem && <Problem problem={problem} retry={reload} />}
      {!data && !problem && <p class="loading">Loading drift…</p>}
      {data?.items.length === 0 && (
        <Empty title="Not enough data yet">
          <p>
            No drift window is complete. A device reports one each time its model has made as many predictions
            as the model’s profile asks for; until then there is no verdict, and that is not a pass.
          </p>
        </Empty>
      )}
      {data?.items.map((view) => (
        <DriftSection key={`${view.model}@${view.version} ${view.device}`} view={view} />
      ))}
    </>
  );
}

function Scope({ device }: { device: string | undefined }) {
  const devices = deviceList.value;
  const unlisted = device !== undefined && !devices.some((each) => each.id === device);
  return (
    <label>
      <span class="visually-hidden">Fleet or device</span>
      <select
        value={device ?? ''}
        onChange={({ currentTarget: { value } }) =>
          goTo(value ? { page: 'drift', device: value } : { page: 'drift' })
        }
      >
        <option value="">Whole fleet</option>
        {unlisted && <option value={device}>{device}</option>}
        {devices.map((each) => (
          <option key={each.id} value={each.id}>
            {each.name || each.id}
          </option>
        ))}
      </select>
    </label>
  );
}
