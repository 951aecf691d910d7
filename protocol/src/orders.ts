/** What the director may say to one device. It rides inside the signed director targets document. */
import { type Static, Type } from 'typebox';
import { MODEL_NAME_PATTERN, VERSION_PATTERN } from './manifest.ts';
import { strict } from './schema.ts';
import { ID_PATTERN } from './topics.ts';
import { MIB } from './units.ts';

/** A p95 up to this is never called slow: below it a busy scheduler says more than the model does. */
export const LATENCY_NOISE_US = 5_000;

/** What an agent's memory may grow by for other reasons while a model is on trial. */
export const MEMORY_NOISE_BYTES = 128 * MIB;

/** A {@link ProbationPolicy} with this `maxLatencyRatio` does not judge latency. */
export const ANY_LATENCY_RATIO = 1e9;

/** When a new model has proven itself, and when it has failed. */
export const ProbationPolicy = strict({
  minInferences: Type.Integer({ minimum: 1 }),
  minMs: Type.Integer({ minimum: 0 }),
  /** With fewer than minInferences by then it stays, `unproven`. */
  deadlineMs: Type.Integer({ minimum: 1 }),
  maxErrorRate: Type.Number({ minimum: 0, maximum: 1 }),
  /** Times the previous model's own p95; {@link LATENCY_NOISE_US} is always allowed. */
  maxLatencyRatio: Type.Number({ exclusiveMinimum: 0 }),
});

/** How an order's bytes may come. A device's own settings are only made stricter, but for `urgent`. */
export const Transfer = strict({
  rate: Type.Optional(
    Type.Integer({ minimum: 4096, description: 'At most so many bytes a second on each device' }),
  ),
  urgent: Type.Optional(
    Type.Boolean({
      description: 'Passes maintenance windows and deferral on metered links, if the device allows it',
    }),
  ),
});

export const Order = strict({
  /** Idempotency: the same id is never carried out twice. */
  id: Type.String({ minLength: 1, maxLength: 64 }),
  rollout: Type.String({ minLength: 1, maxLength: 64 }),
  model: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  probation: ProbationPolicy,
  /** Activation needs orders refreshed within this time; null: the rollout opted out. */
  freshWithinMs: Type.Union([Type.Integer({ minimum: 1000 }), Type.Null()]),
  /** Absent: as the device is set up. */
  transfer: Type.Optional(Transfer),
});

/** `custom` of a director targets document. */
export const DirectorOrders = strict({
  device: Type.String({ pattern: ID_PATTERN }),
  imageSnapshotVersion: Type.Integer({ minimum: 1 }),
  /** Hex Ed25519 keys that may sign acknowledgements and commands. */
  ackKeys: Type.Array(Type.String({ pattern: '^[0-9a-f]{64}$' }), { minItems: 1, maxItems: 4 }),
  /** At most one per model: what this device should run. */
  orders: Type.Array(Order, { maxItems: 32 }),
});

/** `custom` of a manifest target in the image repository, signed offline. */
export const ModelTarget = strict({
  model: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: VERSION_PATTERN }),
  /** Release counter: grows with every publication of this model id. */
  release: Type.Integer({ minimum: 1 }),
  /** No device that has seen this may run a release below it. */
  floor: Type.Integer({ minimum: 0 }),
  tags: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 16 }),
});

export type ProbationPolicy = Static<typeof ProbationPolicy>;
export type Transfer = Static<typeof Transfer>;
export type Order = Static<typeof Order>;
export type DirectorOrders = Static<typeof DirectorOrders>;
export type ModelTarget = Static<typeof ModelTarget>;
