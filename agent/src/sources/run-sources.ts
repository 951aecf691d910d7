/**
 * The sources at work: each supervised, each feeding the pipeline of its model. While no model is active under that name
 * readings are only counted: nothing is accepted that was not predicted.
 */
import { asSkeinError, type ErrorCode } from '@skein/protocol/errors.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import type { PredictionRecord } from '@skein/protocol/records.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { WarningCode } from '@skein/protocol/warnings.ts';
import type { PipelineStatus, SourceStatus } from '../api/status.ts';
import type { Incidents } from '../health/incidents.ts';
import type { Outcome } from '../pipeline/postprocess.ts';
import {
  createPipeline,
  type Pipeline,
  type PipelineOptions,
  type PipelineProblem,
} from '../pipeline/run-pipeline.ts';
import { type Admission, admission } from './admission.ts';
import type { Source } from './port.ts';
import { type SupervisedSource, supervise } from './supervise.ts';

export interface ConfiguredSource {
  kind: string;
  model: string;
  source: Source;
}

export interface SourcesDeps {
  engine: PipelineOptions['engine'];
  boot: string;
  clock: Clock;
  log: Log;
  incidents: Incidents;
  pictures?: PipelineOptions['pictures'];
  onPrediction(record: PredictionRecord, outcome: Outcome): void;
  onDrift: PipelineOptions['onDrift'];
}

export interface RunningSources {
  start(): void;
  /** Stops the sources, lets readings under way finish and closes open drift windows. */
  stop(): Promise<void>;
  sources(): SourceStatus[];
  pipelines(): PipelineStatus[];
}

/** One warning in the log about the same problem of a source in this time. */
const SAY_AGAIN_MS: Millis = 60_000;

interface Lane {
  configured: ConfiguredSource;
  supervised: SupervisedSource;
  pipeline: Pipeline;
  latencyUs: number;
  door: Admission;
  /** What came and was no reading. */
  bad: number;
}

export function runSources(configured: readonly ConfiguredSource[], deps: SourcesDeps): RunningSources {
  const lanes = configured.map((each) => laneFor(each, deps));
  return {
    start() {
      for (const lane of lanes) lane.supervised.start();
    },
    async stop() {
      await Promise.all(lanes.map((lane) => lane.supervised.stop()));
      await Promise.all(lanes.map((lane) => lane.door.idle()));
      for (const lane of lanes) lane.pipeline.flush({ ts: deps.clock.now(), mono: deps.clock.mono() });
    },
    sources: () => lanes.map((lane) => sourceStatus(lane, deps.clock)),
    pipelines: () => lanes.map(pipelineStatus),
  };
}

function laneFor(configured: ConfiguredSource, deps: SourcesDeps): Lane {
  const { clock, engine, incidents, log } = deps;
  const { model, source } = configured;
  const problems = problemReporter(deps, model);
  const pipeline = createPipeline({
    engine,
    model,
    boot: deps.boot,
    pictures: deps.pictures,
    onPrediction({ record, outcome }) {
      lane.latencyUs += record.latency_us;
      problems.well(source.name);
      deps.onPrediction(record, outcome);
    },
    onDrift: deps.onDrift,
    onProblem: problems.report,
  });
  const door = admission(
    (reading) => pipeline.reading(reading),
    (reading) => {
      if (!reading.picture) problems.say(`overload ${source.name}`, `${model} is slower than ${source.name}`);
    },
  );
  const supervised = supervise(source, clock, {
    reading(reading) {
      // Also one that was opened before this start.
      if (supervised.readings === 1) incidents.clear('SOURCE_STALLED', source.name);
      if (engine.current(model)) door.offer(reading);
    },
    room: () => door.room(),
    failed(name, error) {
      const { code, fix, message } = asSkeinError(error);
      if (code === 'SOURCE_INVALID') lane.bad++;
      problems.say(`source ${name}`, fix ? `${message}. ${fix}` : message);
    },
    stalled(name, silentMs) {
      log.warn('source stalled; it is started again', { source: name, silentMs });
      incidents.raise('SOURCE_STALLED', {
        source: name,
        detail: `silent for ${Math.round(silentMs / 1000)} s`,
      });
    },
    recovered: (name) => incidents.clear('SOURCE_STALLED', name),
    ended: (name) => log.info('recording ended', { source: name }),
  });
  const lane: Lane = { configured, supervised, pipeline, door, latencyUs: 0, bad: 0 };
  return lane;
}

const MODEL_PROBLEMS = [
  'MODEL_CRASHED',
  'MODEL_TIMEOUT',
  'MODEL_OUTPUT_NOT_FINITE',
  'TENSOR_INVALID',
  'INTERNAL',
];

/** What is wrong with the readings of a source rather than with its model. */
const READING_PROBLEMS: Partial<Record<ErrorCode, WarningCode>> = {
  INPUT_NOT_FINITE: 'INPUT_NOT_FINITE',
  IMAGE_INVALID: 'PICTURES_INVALID',
  IMAGE_TOO_LARGE: 'PICTURES_INVALID',
};

/** An incident about readings ends with a prediction that comes this long after the last problem, so it cannot flap. */
const CALM_AFTER_MS: Millis = 30_000;

/** Problems of readings become incidents, and at most one log line a minute each. */
function problemReporter({ clock, incidents, log }: SourcesDeps, model: string) {
  const saidMono = new Map<string, Millis>();
  let problemMono: Millis | null = null;
  const say = (what: string, message: string): void => {
    if (clock.mono() - (saidMono.get(what) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    saidMono.set(what, clock.mono());
    log.warn(message, { about: what });
  };
  return {
    say,
    report({ code, message, source }: PipelineProblem): void {
      say(`${code} ${source}`, message);
      problemMono = clock.mono();
      const raised = READING_PROBLEMS[code];
      if (raised) incidents.raise(raised, { source, detail: message });
      else if (MODEL_PROBLEMS.includes(code))
        incidents.raise('MODEL_FAILING', { source: model, detail: message });
    },
    well(source: string): void {
      if (problemMono === null || clock.mono() - problemMono < CALM_AFTER_MS) return;
      problemMono = null;
      for (const raised of new Set(Object.values(READING_PROBLEMS))) incidents.clear(raised, source);
      incidents.clear('MODEL_FAILING', model);
    },
  };
}

const sourceStatus = ({ bad, configured, door, supervised }: Lane, clock: Clock): SourceStatus => ({
  name: supervised.name,
  kind: configured.kind,
  model: configured.model,
  state: supervised.status,
  readings: supervised.readings,
  bad,
  dropped: door.dropped,
  silentMs:
    supervised.lastReadingMono === null ? null : Math.round(clock.mono() - supervised.lastReadingMono),
});

const pipelineStatus = ({ configured, supervised, pipeline, latencyUs }: Lane): PipelineStatus => ({
  source: supervised.name,
  model: configured.model,
  ...pipeline.counts(),
  latencyUs,
});
