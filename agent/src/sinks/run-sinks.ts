/** The sinks at work: each hears of the predictions that its filter lets by, and none of them is waited for. */
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { SinkStatus } from '../api/status.ts';
import type { Incidents } from '../health/incidents.ts';
import type { Outcome } from '../pipeline/postprocess.ts';
import { type FilterOptions, messageFilter } from './filter.ts';
import type { Sink, SinkMessage } from './port.ts';
import { watchSink } from './watch-sink.ts';

export interface ConfiguredSink {
  kind: string;
  filter: FilterOptions;
  /** @param trouble may be called as often as it likes. */
  open(trouble: (error: Error) => void): Sink;
}

export interface RunningSinks {
  start(): void;
  prediction(record: PredictionRecord, outcome: Outcome): void;
  stop(): Promise<void>;
  status(): SinkStatus[];
}

/** The same sink is spoken of once in this time. */
const SAY_AGAIN_MS: Millis = 60_000;

export function runSinks(
  configured: readonly ConfiguredSink[],
  { clock, log, device, incidents }: { clock: Clock; log: Log; device: string; incidents: Incidents },
): RunningSinks {
  const lanes = configured.map(({ kind, filter, open }) => {
    let saidMono = Number.NEGATIVE_INFINITY;
    const sink = open((error) => {
      watch.trouble();
      if (clock.mono() - saidMono < SAY_AGAIN_MS) return;
      saidMono = clock.mono();
      log.warn(error.message, { about: `sink ${sink.name}` });
    });
    const watch = watchSink({ name: sink.name, counts: () => sink.counts() }, { clock, incidents });
    return { kind, sink, watch, wants: messageFilter(filter) };
  });
  return {
    start() {
      for (const { sink } of lanes) sink.start();
    },
    prediction(record, outcome) {
      if (lanes.length === 0) return;
      const message = messageOf(device, record, outcome);
      for (const { sink, wants } of lanes) if (wants(message)) sink.offer(message);
    },
    async stop() {
      for (const { watch } of lanes) watch.stop();
      await Promise.all(lanes.map(({ sink }) => sink.stop()));
    },
    status: () => lanes.map(({ kind, sink }) => ({ name: sink.name, kind, ...sink.counts() })),
  };
}

function messageOf(device: string, record: PredictionRecord, { top, boxes }: Outcome): SinkMessage {
  const { ts, source, model, version, label, score, latency_us } = record;
  const alarm = record.alarm === 1 ? 1 : 0;
  const message: SinkMessage = { ts, device, source, model, version, label, score, alarm, latency_us };
  if (top) message.top = top;
  if (boxes) message.boxes = boxes;
  return message;
}
