/**
 * The walk of a reading: row → window → tensor, or picture → tensor; then inference → prediction, with drift counted on
 * the way. Nothing here ever throws at the source: what goes wrong with one reading is counted and told to `onProblem`,
 * and the next reading goes on. Readings are worked on side by side, at most {@link UNDER_WAY}; their predictions are
 * told in the order of the readings.
 */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { ImagePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { DriftRecord, PredictionRecord } from '@skein/protocol/records.ts';
import type { ChartVerdict } from '../drift/verdicts.ts';
import type { Tensors } from '../inference/backend.ts';
import type { Engine, Prediction } from '../inference/engine.ts';
import type { Picture, Reading } from '../sources/port.ts';
import { countRow, type Fed, feedFor, feedRow, type ModelFeed, misfit, pictureFed } from './model-feed.ts';
import type { Pictures } from './pictures.ts';
import { type Outcome, postprocess } from './postprocess.ts';
import { type Turn, Turns } from './turns.ts';

export interface PredictionEvent {
  record: PredictionRecord;
  /** With what the record has no room for: ranked classes, boxes. */
  outcome: Outcome;
  outputs: Tensors;
  reading: Reading;
}

export interface PipelineProblem {
  code: ErrorCode;
  message: string;
  source: string;
}

export interface PipelineOptions {
  engine: Pick<Engine, 'current' | 'predict'>;
  /** Name of the model that this pipeline feeds. */
  model: string;
  boot: string;
  /** Absent: readings with pictures are refused. */
  pictures?: Pick<Pictures, 'prepare'> | undefined;
  onPrediction(event: PredictionEvent): void;
  /** @param former what the charts of the model before say of the same readings, while it is of interest */
  onDrift(record: DriftRecord, former?: ChartVerdict): void;
  onProblem(problem: PipelineProblem): void;
}

export interface PipelineCounts {
  readings: number;
  predictions: number;
  /** Readings with a feature that is missing, not finite or beyond float32, whatever the policy did with them. */
  notFinite: number;
  /** Of the failures: the model's output was NaN or infinite. */
  outputsNotFinite: number;
  /** Of the failures: pictures that could not be decoded. */
  picturesInvalid: number;
  /** Not predicted because too many were under way. */
  dropped: number;
  /** Readings that gave no prediction because something went wrong. */
  failures: number;
}

export interface Pipeline {
  /** Settles when the reading is predicted or given up; never rejects. */
  reading(reading: Reading): Promise<void>;
  counts(): Readonly<PipelineCounts>;
  /** Reports what the open drift window holds, for a clean stop. */
  flush(reading: Pick<Reading, 'ts' | 'mono'>): void;
}

/** Readings of one source at once. A picture waits for its decoding too, and a late frame is worth little. */
const UNDER_WAY = { values: 64, pictures: 4 };

/** A picture prepared for a model that is replaced meanwhile is prepared again, so often. */
const ATTEMPTS = 3;

export function createPipeline(options: PipelineOptions): Pipeline {
  const { engine, model, boot, pictures } = options;
  const counts: PipelineCounts = {
    ...{ readings: 0, predictions: 0, notFinite: 0, outputsNotFinite: 0 },
    ...{ picturesInvalid: 0, dropped: 0, failures: 0 },
  };
  const turns = new Turns();
  let state: ModelFeed | undefined;
  /** Numbered over all models of this boot, so (boot, model, window) names one window. */
  let driftWindow = 0;

  const closeDrift = ({ manifest, drift, former }: ModelFeed, at: Pick<Reading, 'ts' | 'mono'>) => {
    if (!drift || drift.observed === 0) return;
    const stamp = { ts: at.ts, mono: at.mono, boot, model: manifest.name, version: manifest.version };
    options.onDrift({ ...drift.close(stamp), window: driftWindow++ }, former?.charts.beside());
  };

  const stateNow = (reading: Reading): ModelFeed => {
    const current = engine.current(model);
    if (!current) throw new SkeinError('NOT_FOUND', `no model \`${model}\` is active yet`);
    if (state?.current !== current) {
      if (state) closeDrift(state, reading);
      state = feedFor(current, state);
    }
    return state;
  };

  const problem = (reading: Reading, code: ErrorCode, message: string) =>
    options.onProblem({ code, message, source: reading.source });

  const observe = (now: ModelFeed, row: Float64Array, reading: Reading): void => {
    if (countRow(now, row, reading)) closeDrift(now, reading);
  };

  /** The window to infer on, if this reading completes one. */
  const fromValues = (now: ModelFeed, reading: Reading): Fed | undefined => {
    const { preprocess } = now.manifest;
    if (preprocess.kind !== 'features') throw misfit(now.manifest);
    const { row, missing, fed } = feedRow(now, preprocess, reading);
    observe(now, row, reading);
    if (missing.length > 0) {
      counts.notFinite++;
      if (preprocess.onMissing !== 'fill') {
        problem(reading, 'INPUT_NOT_FINITE', `missing or not finite: ${missing.join(', ')}`);
      }
    }
    return fed;
  };

  const prepared = async (picture: Picture, preprocess: ImagePreprocess) => {
    try {
      return await pictures!.prepare(picture, preprocess);
    } catch (thrown) {
      const { code } = asSkeinError(thrown);
      if (code === 'IMAGE_INVALID' || code === 'IMAGE_TOO_LARGE') counts.picturesInvalid++;
      throw thrown;
    }
  };

  /** Chosen and fed at once, so the inference meets the very model that the tensor was made for. */
  const fromPicture = async (
    picture: Picture,
    reading: Reading,
  ): Promise<[ModelFeed, Promise<Prediction>, Fed]> => {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const now = stateNow(reading);
      const { preprocess } = now.manifest;
      if (preprocess.kind !== 'image' || !pictures) throw misfit(now.manifest);
      const ready = await prepared(picture, preprocess);
      if (engine.current(model) !== now.current) continue;
      observe(now, ready.row, reading);
      const fed = pictureFed(now.manifest, preprocess, ready);
      return [now, engine.predict(model, fed.inputs), fed];
    }
    throw new SkeinError('OVERLOADED', `\`${model}\` is replaced faster than a picture is decoded`);
  };

  const told = (now: ModelFeed, fed: Fed, prediction: Prediction, reading: Reading): void => {
    const outcome = postprocess(now.manifest.postprocess, prediction.outputs, fed.values, fed.place);
    if (!prediction.finite || !Number.isFinite(outcome.score)) {
      counts.outputsNotFinite++;
      const what = `${model}@${prediction.version} gave NaN or an infinity`;
      throw new SkeinError('MODEL_OUTPUT_NOT_FINITE', what);
    }
    now.drift?.output(outcome.charts);
    counts.predictions++;
    const { label, score, alarm } = outcome;
    const { ts, mono, source } = reading;
    const version = prediction.version;
    const record = { ts, mono, boot, source, model, version, label, score, alarm };
    options.onPrediction({
      record: { ...record, latency_us: prediction.latencyUs, ...countOf(outcome) },
      outcome,
      outputs: prediction.outputs,
      reading,
    });
  };

  const predict = async (reading: Reading, turn: Turn): Promise<void> => {
    const { picture } = reading;
    if (picture) {
      const [now, inference, fed] = await fromPicture(picture, reading);
      const prediction = await inference;
      await turn.comes();
      return told(now, fed, prediction, reading);
    }
    const now = stateNow(reading);
    const fed = fromValues(now, reading);
    if (!fed) return;
    if (turns.underWay > UNDER_WAY.values) throw tooMany(UNDER_WAY.values);
    const prediction = await engine.predict(model, fed.inputs);
    const earlier = turn.comes();
    if (earlier) await earlier;
    told(now, fed, prediction, reading);
  };

  return {
    async reading(reading) {
      counts.readings++;
      const turn = turns.take();
      try {
        if (reading.picture && turns.underWay > UNDER_WAY.pictures) throw tooMany(UNDER_WAY.pictures);
        await predict(reading, turn);
      } catch (thrown) {
        const error = asSkeinError(thrown);
        if (error.code === 'OVERLOADED') counts.dropped++;
        else counts.failures++;
        problem(reading, error.code, error.message);
      } finally {
        turn.leave();
      }
    },
    counts: () => counts,
    flush(at) {
      if (state) closeDrift(state, at);
    },
  };
}

const tooMany = (limit: number): SkeinError =>
  new SkeinError('OVERLOADED', `${limit} readings of this source are under way; this one is left out`, {
    fix: 'Read less often, or use a faster variant of the model.',
  });

/** How many boxes: the record has room for the number alone. */
const countOf = ({ boxes }: Outcome): { count?: number } => (boxes ? { count: boxes.length } : {});
