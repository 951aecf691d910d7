/**
 * Takes records into the outbox and commits them in groups: at the commit interval, and at once for incidents, update
 * reports and the beginning of an alarm, which are also sent at once. A commit that fails (full disk) is tried again at
 * the next interval; the records stay in memory until the outbox's own bound.
 */
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { EventMessage } from '@skein/protocol/messages.ts';
import type { Clock, Log, Timer } from '@skein/protocol/ports.ts';
import type {
  DriftRecord,
  HealthRecord,
  PredictionRecord,
  RecordOf,
  UpdateReport,
} from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Outbox } from './outbox/port.ts';
import type { Sampler } from './outbox/sampling.ts';

export interface RecorderDeps {
  outbox: Outbox;
  clock: Clock;
  log: Log;
  boot: string;
  commitIntervalMs: Millis;
  /** Which predictions are recorded. */
  sampler: Sampler;
  /** Seals and sends what is committed, now. */
  send(): void;
  /** null: committing works again. */
  trouble(message: string | null): void;
}

export interface Recorder {
  prediction(record: PredictionRecord): void;
  health(record: HealthRecord): void;
  drift(record: DriftRecord): void;
  incident(event: EventMessage): void;
  /** @throws SkeinError DISK_FULL, DISK_FAILED: not durable yet, report again. */
  report(report: UpdateReport): void;
  start(): void;
  /** Commits what is left. */
  stop(): void;
}

export function createRecorder(deps: RecorderDeps): Recorder {
  const { outbox, clock, log, boot } = deps;
  /** Alarm state by source and model: only its beginning is urgent. */
  const alarmed = new Map<string, boolean>();
  let timer: Timer | undefined;

  const append = <S extends Stream>(stream: S, record: RecordOf[S]): void => {
    try {
      outbox.append(stream, record);
    } catch (error) {
      log.error('a record cannot be kept', { stream, error: asSkeinError(error).message });
    }
  };
  const commit = (): void => {
    try {
      outbox.commit();
      deps.trouble(null);
    } catch (error) {
      deps.trouble(asSkeinError(error).message);
    }
  };
  const commitAndSend = (): void => {
    commit();
    deps.send();
  };
  const stamp = () => ({ ts: clock.now(), mono: Math.round(clock.mono()), boot });
  const tick = (): void => {
    timer = clock.after(deps.commitIntervalMs, tick);
    commit();
  };

  return {
    prediction(record) {
      if (!deps.sampler(record)) outbox.leaveOut('predictions');
      else append('predictions', record);
      const key = `${record.source}/${record.model}`;
      const begins = record.alarm === 1 && !alarmed.get(key);
      alarmed.set(key, record.alarm === 1);
      if (begins) commitAndSend();
    },
    health: (record) => append('health', record),
    drift: (record) => append('drift', record),
    incident(event) {
      append('events', { ...stamp(), kind: 'incident', event });
      commitAndSend();
    },
    report(report) {
      outbox.append('events', { ...stamp(), kind: 'update', report });
      outbox.commit();
      deps.send();
    },
    start: tick,
    stop() {
      timer?.cancel();
      commit();
    },
  };
}
