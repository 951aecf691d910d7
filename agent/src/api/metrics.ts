/**
 * The agent's status in Prometheus' text format. What Triton measures too has its names (`metrics-models.ts`); the rest is
 * `skein_*` in base units.
 */
import { type ShadowStatus, SKIPS } from '../inference/shadow.ts';
import { counter, type Family, gauge, type Labels, renderFamilies } from './metrics-format.ts';
import { type CountedModel, inferenceFamilies } from './metrics-models.ts';
import type { OipModels } from './oip-models.ts';
import type { AgentStatus } from './status.ts';
import { readiness } from './status.ts';

function modelFamilies({ models, pipelines }: AgentStatus): Family[] {
  const each = (pick: (model: AgentStatus['models'][number]) => number): [Labels, number][] =>
    models.map((model) => [{ model: model.name, version: model.version }, pick(model)]);
  const ofModel = (pick: (pipeline: AgentStatus['pipelines'][number]) => number): [Labels, number][] =>
    pipelines.map((pipeline) => [{ model: pipeline.model, source: pipeline.source }, pick(pipeline)]);
  return [
    counter(
      'skein_pipeline_latency_seconds_total',
      'From reading to prediction, of all predictions.',
      ofModel((p) => p.latencyUs / 1e6),
    ),
    gauge(
      'skein_inference_latency_p95_seconds',
      'p95 since activation.',
      each((m) => m.stats.p95LatencyUs / 1e6),
    ),
    counter(
      'skein_inference_not_finite_total',
      'Answers with NaN or infinities.',
      each((m) => m.stats.notFinite),
    ),
    counter(
      'skein_readings_total',
      'Readings taken by a pipeline.',
      ofModel((p) => p.readings),
    ),
    counter(
      'skein_predictions_total',
      'Predictions made.',
      ofModel((p) => p.predictions),
    ),
    counter(
      'skein_readings_not_finite_total',
      'Readings with a missing feature.',
      ofModel((p) => p.notFinite),
    ),
    counter(
      'skein_outputs_not_finite_total',
      'Predictions refused because the model gave NaN or an infinity.',
      ofModel((p) => p.outputsNotFinite),
    ),
    counter(
      'skein_pictures_invalid_total',
      'Pictures that could not be decoded.',
      ofModel((p) => p.picturesInvalid),
    ),
    counter(
      'skein_readings_dropped_total',
      'Readings left out because too many were under way.',
      ofModel((p) => p.dropped),
    ),
    counter(
      'skein_readings_failed_total',
      'Readings that gave no prediction.',
      ofModel((p) => p.failures),
    ),
  ];
}

/** A counter for each figure of what has a name and a kind. */
const countersOf = <T extends { name: string; kind: string }>(
  what: string,
  entries: readonly T[],
  figures: readonly [suffix: string, help: string, pick: (entry: T) => number][],
): Family[] =>
  figures.map(([suffix, help, pick]) =>
    counter(
      `skein_${what}_${suffix}_total`,
      help,
      entries.map((entry) => [{ [what]: entry.name, kind: entry.kind }, pick(entry)]),
    ),
  );

const edgeFamilies = ({ sources, sinks }: AgentStatus): Family[] => [
  ...countersOf('source', sources, [
    ['readings', 'Readings a source delivered.', (s) => s.readings],
    ['bad', 'What came and was no reading.', (s) => s.bad],
    ['dropped', 'Readings left out because the model was slower.', (s) => s.dropped],
  ]),
  ...countersOf('sink', sinks, [
    ['delivered', 'Predictions a sink took.', (s) => s.delivered],
    ['dropped', 'The oldest, left out because too many waited.', (s) => s.dropped],
    ['refused', 'Predictions refused for good.', (s) => s.failed],
  ]),
  gauge(
    'skein_sink_queued',
    'Predictions that wait for a sink.',
    sinks.map((s) => [{ sink: s.name, kind: s.kind }, s.queued]),
  ),
];

function shadowFamilies({ shadows }: AgentStatus): Family[] {
  const each = (pick: (shadow: ShadowStatus) => number): [Labels, number][] =>
    shadows.map((shadow) => [{ model: shadow.model, challenger: shadow.challenger }, pick(shadow)]);
  const skipped = shadows.flatMap(({ model, challenger, skipped: by }) =>
    SKIPS.map((reason): [Labels, number] => [{ model, challenger, reason }, by[reason]]),
  );
  return [
    counter(
      'skein_shadow_compared_total',
      'Rows that model and challenger both answered, since either was activated.',
      each((s) => s.compared),
    ),
    counter(
      'skein_shadow_agreed_total',
      'Of these, the same label.',
      each((s) => s.agreed),
    ),
    counter('skein_shadow_skipped_total', 'Answers that were not compared, by reason.', skipped),
    gauge(
      'skein_shadow_score_difference_mean',
      'Of the scores, absolute.',
      each((s) => s.meanScoreDifference),
    ),
    gauge(
      'skein_shadow_score_difference_max',
      'Of the scores, absolute.',
      each((s) => s.maxScoreDifference),
    ),
    gauge(
      'skein_shadow_primary_p95_seconds',
      'p95 of the run alone, the model that works.',
      each((s) => s.p95Us / 1e6),
    ),
    gauge(
      'skein_shadow_challenger_p95_seconds',
      'p95 of the run alone, the challenger.',
      each((s) => s.challengerP95Us / 1e6),
    ),
  ];
}

function outboxFamilies({ ledger }: AgentStatus): Family[] {
  const states = ['stored', 'pending', 'dropped', 'lostAtServer', 'unknown'] as const;
  const records = ledger.flatMap((entry) =>
    states.map((state): [Labels, number] => [{ stream: entry.stream, state }, entry[state]]),
  );
  const each = (pick: (entry: AgentStatus['ledger'][number]) => number): [Labels, number][] =>
    ledger.map((entry) => [{ stream: entry.stream }, pick(entry)]);
  return [
    counter(
      'skein_outbox_accepted_total',
      'Records accepted since the buffer was made.',
      each((e) => e.accepted),
    ),
    gauge('skein_outbox_records', 'Where the accepted records are.', records),
    gauge(
      'skein_outbox_pending_bytes',
      'Sealed and not yet acknowledged.',
      each((e) => e.pendingBytes),
    ),
  ];
}

const counted = (status: AgentStatus, statistics: OipModels['statistics']): CountedModel[] =>
  status.models.flatMap(({ name, version }) => {
    const known = statistics(name);
    return known ? [{ name, version, statistics: known }] : [];
  });

/** @param statistics of a running model, by name */
export function renderMetrics(status: AgentStatus, statistics: OipModels['statistics']): string {
  const health = Object.entries(status.health).map(([metric, value]): [Labels, number] => [
    { metric },
    value,
  ]);
  const incidents = status.incidents.map((i): [Labels, number] => [
    { code: i.code, severity: i.severity, source: i.source ?? '' },
    1,
  ]);
  const info = { version: status.agentVersion, device: status.device, fleet: status.fleet };
  const families = [
    gauge('skein_agent_info', 'Constant 1.', [[info, 1]]),
    gauge('skein_agent_uptime_seconds', 'Since the agent started.', [[{}, status.uptimeMs / 1000]]),
    gauge('skein_agent_ready', '1 when every model gives its golden answers.', [
      [{}, readiness(status).ready ? 1 : 0],
    ]),
    gauge('skein_mqtt_connected', '1 while connected to the broker.', [[{}, status.connected ? 1 : 0]]),
    ...inferenceFamilies(counted(status, statistics)),
    ...modelFamilies(status),
    ...edgeFamilies(status),
    ...shadowFamilies(status),
    ...outboxFamilies(status),
    gauge('skein_health', 'Latest health sample; units are in the metric’s name, shares are 0 to 1.', health),
    gauge('skein_incident_open', 'Constant 1 for each open incident.', incidents),
  ];
  return renderFamilies(families);
}
