/**
 * What the four streams carry. A record is accepted once it is committed to the outbox; from then on it is
 * accounted for. `mono` and `boot` let a reading be re-dated once a clock is trusted.
 */
import { type Static, Type } from 'typebox';
import { EventMessage } from './messages.ts';
import { oneOf, recordOf, strict } from './schema.ts';

const text = (maxLength: number) => Type.String({ maxLength });
const stamp = {
  ts: Type.Number({ description: 'Wall clock, milliseconds since 1970' }),
  mono: Type.Number({ description: 'Milliseconds since the agent started' }),
  boot: text(32),
};
const hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const PredictionRecord = strict({
  ...stamp,
  source: text(64),
  model: text(64),
  version: text(32),
  label: text(64),
  score: Type.Number(),
  alarm: Type.Integer({ minimum: 0, maximum: 1 }),
  latency_us: Type.Integer({ minimum: 0 }),
  /** A detector’s boxes; label and score are the best one’s. Absent for other models, so it costs them nothing. */
  count: Type.Optional(Type.Integer({ minimum: 0, maximum: 300 })),
});

export const HealthRecord = strict({
  ...stamp,
  metrics: recordOf(Type.Number()),
});

/** Counts of one window of one model; the key (device, boot, model, window) makes it idempotent. */
export const DriftRecord = strict({
  ...stamp,
  model: text(64),
  version: text(32),
  profile: hash,
  window: Type.Integer({ minimum: 0 }),
  n: Type.Integer({ minimum: 0 }),
  charts: Type.Array(
    strict({
      name: Type.String({
        maxLength: 96,
        description: '`feature`, `feature:diff`, `output:NAME` or `confidence`',
      }),
      counts: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 33 }),
      missing: Type.Integer({ minimum: 0 }),
      outside: Type.Integer({ minimum: 0, description: 'Outside the admissible range' }),
      min: Type.Union([Type.Number(), Type.Null()]),
      max: Type.Union([Type.Number(), Type.Null()]),
    }),
    { maxItems: 1024 },
  ),
  verdict: oneOf(['calm', 'drift', 'not-enough-data']),
});

export const UPDATE_OUTCOMES = [
  'started',
  'downloaded',
  'preflighted',
  'probation',
  'committed',
  'unproven',
  'refused',
  'reverted',
  'cancelled',
] as const;
export type UpdateOutcome = (typeof UPDATE_OUTCOMES)[number];

/** The proof a rollout counts on: it travels only inside a device-signed batch. `id` makes it idempotent. */
export const UpdateReport = strict({
  id: text(96),
  order: text(64),
  rollout: text(64),
  model: text(64),
  version: text(32),
  outcome: oneOf(UPDATE_OUTCOMES),
  reason: Type.Union([text(64), Type.Null()]),
  detail: Type.Union([text(500), Type.Null()]),
  loaded: Type.Union([hash, Type.Null()], { description: 'SHA-256 of the bytes the runtime loaded' }),
  proof: Type.Optional(
    oneOf(['sidecar', 'sent'], 'Who vouches for `loaded`, when it is not the agent’s own runtime'),
  ),
  golden: strict({ passed: Type.Integer({ minimum: 0 }), total: Type.Integer({ minimum: 0 }) }),
  probation: strict({
    inferences: Type.Integer({ minimum: 0, description: 'All attempts, errors included' }),
    errors: Type.Integer({ minimum: 0 }),
    notFinite: Type.Integer({ minimum: 0 }),
    p95LatencyUs: Type.Number({ minimum: 0 }),
  }),
  /** p95 of the model that ran before, on the same device: the fleet gate's paired control. */
  previousP95LatencyUs: Type.Optional(Type.Number({ minimum: 0 })),
});

/** Records of the `events` stream. */
export const EventRecord = Type.Union([
  strict({ ...stamp, kind: Type.Literal('incident'), event: EventMessage }),
  strict({ ...stamp, kind: Type.Literal('update'), report: UpdateReport }),
]);

export type PredictionRecord = Static<typeof PredictionRecord>;
export type HealthRecord = Static<typeof HealthRecord>;
export type DriftRecord = Static<typeof DriftRecord>;
export type UpdateReport = Static<typeof UpdateReport>;
export type EventRecord = Static<typeof EventRecord>;

export interface RecordOf {
  predictions: PredictionRecord;
  health: HealthRecord;
  drift: DriftRecord;
  events: EventRecord;
}
