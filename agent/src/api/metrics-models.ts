/**
 * Triton's metrics of inference, by its names and meanings (github.com/triton-inference-server/server,
 * docs/user_guide/metrics.md): cumulative counts and microseconds by model and version. They start at zero when a
 * version is activated, which Prometheus takes for a restart.
 */
import type { EngineStatistics } from '../inference/engine.ts';
import { counter, type Family, gauge, type Labels } from './metrics-format.ts';

export interface CountedModel {
  name: string;
  version: string;
  statistics: EngineStatistics;
}

type Duration = keyof EngineStatistics['inference_stats'];

const DURATIONS: readonly [name: string, of: Duration, help: string][] = [
  ['request', 'success', 'From a request’s arrival to its answer, of answered requests.'],
  ['queue', 'queue', 'Requests waited for the model.'],
  ['compute_input', 'compute_input', 'Putting requests together for a run, once a request.'],
  ['compute_infer', 'compute_infer', 'The model ran, once a request of the run.'],
  ['compute_output', 'compute_output', 'Taking the answer of a run apart, once a request.'],
];

export function inferenceFamilies(models: readonly CountedModel[]): Family[] {
  const each = (pick: (statistics: EngineStatistics) => number): [Labels, number][] =>
    models.map(({ name, version, statistics }) => [{ model: name, version }, pick(statistics)]);
  return [
    counter(
      'nv_inference_request_success',
      'Requests that were answered.',
      each((s) => s.inference_stats.success.count),
    ),
    counter(
      'nv_inference_request_failure',
      'Requests that were refused, too late or failed.',
      each((s) => s.inference_stats.fail.count),
    ),
    counter(
      'nv_inference_count',
      'Rows of all answered requests.',
      each((s) => s.inference_count),
    ),
    counter(
      'nv_inference_exec_count',
      'Runs of the model; fewer than requests when they share runs.',
      each((s) => s.execution_count),
    ),
    ...DURATIONS.map(([name, of, help]) =>
      counter(
        `nv_inference_${name}_duration_us`,
        help,
        each((s) => Math.round(s.inference_stats[of].ns / 1000)),
      ),
    ),
    gauge(
      'nv_inference_pending_request_count',
      'Requests that wait now.',
      each((s) => s.pending),
    ),
    counter(
      'skein_inputs_not_finite_total',
      'Requests with NaN or an infinity in an input.',
      each((s) => s.inputsNotFinite),
    ),
  ];
}
