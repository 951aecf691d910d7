import { call } from '../data/client.ts';
import { useRequest } from '../data/use-request.ts';

const REFRESH_MS = 30_000;

/** On every page, because while the server takes no records all that is shown grows old. */
export function ServerBanner() {
  const { data } = useRequest(() => call('server'), ['server-alarms'], REFRESH_MS);
  const alarm = data?.alarms[0];
  if (!alarm) return null;
  return (
    <div class="lost">
      <div>
        <span role="status">
          <strong>{alarm.text}</strong> {alarm.fix}
        </span>
      </div>
    </div>
  );
}
