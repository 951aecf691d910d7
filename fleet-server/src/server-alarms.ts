/** What of the server itself asks for a person: while one stands, all that is shown of the fleet grows old. Pure. */
import type { ServerView } from '@skein/protocol/api.ts';
import { MIB, MINUTE, type Millis } from '@skein/protocol/units.ts';
import type { Broker } from './broker/port.ts';
import type { DiskWatch } from './store/run-disk-watch.ts';

type Alarms = ServerView['alarms'];

/** A broker that is started anew comes back within it. */
const BROKER_AWAY_MS: Millis = MINUTE;

export interface Watched {
  disk: Pick<DiskWatch, 'fullSince' | 'free'>;
  broker: Pick<Broker, 'unreachedSince'>;
  now: Millis;
}

/** The worst first. */
export const serverAlarms = ({ disk, broker, now }: Watched): Alarms => [
  ...diskAlarms(disk),
  ...brokerAlarms(broker, now),
];

function diskAlarms({ fullSince: since, free }: Watched['disk']): Alarms {
  if (since === null) return [];
  const text = `The server’s disk is full (${Math.round(free / MIB)} MiB usable): no records are taken.`;
  const fix = 'Free space or keep less (keepRawDays). Devices keep their records and send them again.';
  return [{ code: 'DISK_FULL', severity: 'critical', since, text, fix }];
}

function brokerAlarms({ unreachedSince: since }: Watched['broker'], now: Millis): Alarms {
  if (since === null || now - since < BROKER_AWAY_MS) return [];
  const minutes = Math.floor((now - since) / MINUTE);
  const text = `The MQTT broker has not been reached for ${minutes} min: nothing comes from devices, and no order reaches them at once.`;
  const fix =
    'Check that it runs and that SKEIN_BROKER_URL and its credentials are right. Devices keep their records and ask for updates by HTTPS.';
  return [{ code: 'UNREACHABLE', severity: 'critical', since, text, fix }];
}
