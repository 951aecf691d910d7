/** Which records the policy `keep-alarms` keeps longest, and where it cuts batches so that they can be kept alone. */
import type { DriftRecord, EventRecord, PredictionRecord } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';

/** Of health records none is. */
export function isAlarm(stream: Stream, record: unknown): boolean {
  switch (stream) {
    case 'predictions':
      return (record as PredictionRecord).alarm === 1;
    case 'drift':
      return (record as DriftRecord).verdict === 'drift';
    case 'events':
      return isUrgent(record as EventRecord);
    case 'health':
      return false;
    default:
      return stream satisfies never;
  }
}

const isUrgent = (record: EventRecord): boolean =>
  record.kind === 'update' || record.event.after.severity === 'critical';

/** A shorter run without alarms is not worth a batch of its own. */
const CALM_RUN = 64;

/** How many of these go into one batch: up to where a long run without an alarm begins or ends. At least one. */
export function cutAtAlarms(alarms: readonly boolean[]): number {
  const first = alarms.indexOf(true);
  if (first === -1) return alarms.length;
  if (first >= CALM_RUN) return first;
  let calm = 0;
  for (let i = first; i < alarms.length; i++) {
    calm = alarms[i] ? 0 : calm + 1;
    if (calm === CALM_RUN) return i + 1 - CALM_RUN;
  }
  return alarms.length;
}
