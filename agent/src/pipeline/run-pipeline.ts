/**
 * The walk of a reading: row → window → tensor → inference → prediction, with drift counted on the way.
 * A new model means new window and drift state, because its features and bins may differ. Nothing here ever throws at
 * the source: what goes wrong with one reading is counted and told to `onProblem`, and the next reading goes on.
 */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { FeaturePreprocess, Manifest } from '@skein/protocol/manifest.ts';
import { featurePreprocess } from '@skein/protocol/manifest-pipeline.ts';
import type { DriftRecord, PredictionRecord } from '@skein/protocol/records.ts';
import { DriftObserver } from '../drift/observe.ts';
import type { Tensors } from '../inference/backend.ts';
import type { CurrentModel, Engine } from '../inference/engine.ts';
import type { Reading } from '../sources/port.ts';
import { postprocess } from './postprocess.ts';
import { inputTensors, missingIn, rowOf, scaleRow } from './preprocess.ts';
import { RowWindow } from './window.ts';

export interface PredictionEvent {
  record: PredictionRecord;
  outputs: Tensors;
  reading: Reading;
}

export interface PipelineProblem {
  code: ErrorCode;
  message: string;
  source: string;
}

export interface PipelineOptions {
  engine: Engine;
  /** Name of the model that this pipeline feeds. */
  model: string;
  boot: string;
  onPrediction(event: PredictionEvent): void;
  onDrift(record: DriftRecord): void;
  onProblem(problem: PipelineProblem): void;
}

export interface PipelineCounts {
  readings: number;
  predictions: number;
  /** Readings with a missing or not finite feature, whatever the policy did with them. */
  notFinite: number;
  failures: number;
}

export interface Pipeline {
  /** Settles when the reading is predicted or given up; never rejects. */
  reading(reading: Reading): Promise<void>;
  counts(): Readonly<PipelineCounts>;
  /** Reports what the open drift window holds, for a clean stop. */
  flush(reading: Pick<Reading, 'ts' | 'mono'>): void;
}

/** What belongs to one activation of a model. */
interface ModelState {
  current: CurrentModel;
  manifest: Manifest;
  preprocess: FeaturePreprocess;
  window: RowWindow;
  drift: DriftObserver | undefined;
}

function stateFor(current: CurrentModel): ModelState {
  const { manifest } = current;
  const preprocess = featurePreprocess(manifest.preprocess);
  const { features, window } = preprocess;
  const drift = manifest.drift ? new DriftObserver(manifest.drift, features) : undefined;
  return { current, manifest, preprocess, window: new RowWindow(window), drift };
}

export function createPipeline(options: PipelineOptions): Pipeline {
  const { engine, model, boot } = options;
  const counts: PipelineCounts = { readings: 0, predictions: 0, notFinite: 0, failures: 0 };
  let state: ModelState | undefined;
  /** Numbered over all models of this boot, so (boot, model, window) names one window. */
  let driftWindow = 0;

  const closeDrift = ({ manifest, drift }: ModelState, at: Pick<Reading, 'ts' | 'mono'>) => {
    if (!drift || drift.observed === 0) return;
    const stamp = { ts: at.ts, mono: at.mono, boot, model: manifest.name, version: manifest.version };
    options.onDrift({ ...drift.close(stamp), window: driftWindow++ });
  };

  const stateNow = (reading: Reading): ModelState => {
    const current = engine.current(model);
    if (!current) throw new SkeinError('NOT_FOUND', `no model \`${model}\` is active yet`);
    if (state?.current !== current) {
      if (state) closeDrift(state, reading);
      state = stateFor(current);
    }
    return state;
  };

  const problem = (reading: Reading, code: ErrorCode, message: string) =>
    options.onProblem({ code, message, source: reading.source });

  /** The window to infer on, if this reading completes one. */
  const windowFrom = (now: ModelState, reading: Reading): Float32Array | undefined => {
    const { preprocess } = now;
    const row = rowOf(preprocess.features, reading.values);
    if (now.drift?.input(row)) closeDrift(now, reading);
    const missing = missingIn(row);
    if (missing.length > 0) {
      counts.notFinite++;
      if (preprocess.onMissing !== 'fill') {
        const names = missing.slice(0, 8).map((i) => preprocess.features[i]);
        problem(reading, 'INPUT_NOT_FINITE', `missing or not finite: ${names.join(', ')}`);
      }
      if (preprocess.onMissing === 'reject') return undefined;
    }
    return now.window.push(scaleRow(preprocess, row), reading.mono);
  };

  const predict = async (reading: Reading): Promise<void> => {
    const now = stateNow(reading);
    const window = windowFrom(now, reading);
    if (!window) return;
    const prediction = await engine.predict(model, inputTensors(now.manifest, window));
    if (!prediction.finite) {
      throw new SkeinError(
        'MODEL_OUTPUT_NOT_FINITE',
        `${model}@${prediction.version} gave NaN or an infinity`,
      );
    }
    const { label, score, alarm, charts } = postprocess(now.manifest.postprocess, prediction.outputs, window);
    now.drift?.output(charts);
    counts.predictions++;
    options.onPrediction({
      record: {
        ts: reading.ts,
        mono: reading.mono,
        boot,
        source: reading.source,
        model,
        version: prediction.version,
        label,
        score,
        alarm,
        latency_us: prediction.latencyUs,
      },
      outputs: prediction.outputs,
      reading,
    });
  };

  return {
    async reading(reading) {
      counts.readings++;
      try {
        await predict(reading);
      } catch (thrown) {
        counts.failures++;
        const error = asSkeinError(thrown);
        problem(reading, error.code, error.message);
      }
    },
    counts: () => counts,
    flush(at) {
      if (state) closeDrift(state, at);
    },
  };
}
