/**
 * The plain JSON channels, for people and tools: objects, never arrays, flags are 0/1 (Telegraf's json parser
 * drops booleans). Live only: backlog never touches them.
 */
import { type Static, Type } from 'typebox';
import { checker, oneOf, strict } from './schema.ts';
import { ID_PATTERN } from './topics.ts';
import { SEVERITIES, WARNING_CODES } from './warnings.ts';

const id = Type.String({ pattern: ID_PATTERN });
const text = (maxLength: number) => Type.String({ maxLength });
const millis = Type.Number({ description: 'Milliseconds since 1970' });
const flag = Type.Integer({ minimum: 0, maximum: 1 });
const hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const StatusMessage = strict({
  online: flag,
  session: Type.String({ maxLength: 64, description: 'Random per connection' }),
  boot: Type.String({ maxLength: 64, description: 'Random per start of the agent' }),
  agentVersion: text(32),
});

export const ModelInUse = strict({
  name: text(64),
  version: text(32),
  sha256: hash,
  variant: text(32),
  placement: text(16),
});

export const HelloMessage = strict({
  ts: millis,
  agentVersion: text(32),
  runtime: text(64),
  profile: oneOf(['lan', 'metered']),
  hardware: strict({
    model: text(128),
    arch: text(16),
    cpus: Type.Integer({ minimum: 1 }),
    memoryBytes: Type.Number({ minimum: 0 }),
    os: text(128),
    tags: Type.Array(text(64), { maxItems: 32, description: 'Matched against a manifest’s hardware' }),
  }),
  sources: Type.Array(text(64), { maxItems: 32 }),
  models: Type.Array(ModelInUse, { maxItems: 32 }),
});

/** Flat: latest reading and health together. Health metrics are further numeric keys, e.g. `temp_c`, `cpu`. */
export const StateMessage = Type.Object(
  {
    ts: millis,
    model: Type.Optional(text(64)),
    version: Type.Optional(text(32)),
    label: Type.Optional(text(64)),
    score: Type.Optional(Type.Number()),
    latency_ms: Type.Optional(Type.Number({ minimum: 0 })),
    alarm: Type.Optional(flag),
  },
  { additionalProperties: Type.Union([Type.Number(), text(64)]) },
);

export const Incident = strict({
  code: oneOf(WARNING_CODES),
  severity: oneOf(SEVERITIES),
  start_time: millis,
  end_time: Type.Union([millis, Type.Null()]),
  source: Type.Optional(text(64)),
  detail: Type.Optional(text(500)),
});

/** One id per incident, as Frigate does. */
export const EventMessage = strict({
  type: oneOf(['new', 'update', 'end']),
  id: text(64),
  before: Type.Union([Incident, Type.Null()]),
  after: Incident,
});

export const UpdateMessage = strict({
  installed_version: Type.Union([text(64), Type.Null()]),
  latest_version: Type.Union([text(64), Type.Null()]),
  in_progress: flag,
  update_percentage: Type.Union([Type.Number({ minimum: 0, maximum: 100 }), Type.Null()]),
  waiting: Type.Optional(
    Type.String({
      maxLength: 300,
      description: 'Why it does not go on just now, `CODE: words`; absent: it does',
    }),
  ),
  compiling: Type.Optional(
    Type.Number({
      minimum: 0,
      maximum: 100,
      description: 'A backend compiles the model, percent; absent: none does',
    }),
  ),
});

/** A hint only: what counts is the signed director document. */
export const DesiredMessage = strict({ directorVersion: Type.Integer({ minimum: 0 }) });

export const READS_DOMAIN = 'skein/reads';

/** Which batches the server reads, inside a signed envelope. It may say more than this version understands. */
export const ReadsMessage = Type.Object({
  forms: Type.Array(text(16), { maxItems: 16, description: 'SKB1, SKB2, SKN1; see protocol/BATCH.md' }),
  zstd: Type.Optional(flag),
  /** Another one at each start of the server, which may have been restored meanwhile. */
  start: Type.Optional(text(64)),
});

export type StatusMessage = Static<typeof StatusMessage>;
export type ModelInUse = Static<typeof ModelInUse>;
export type HelloMessage = Static<typeof HelloMessage>;
export type StateMessage = Static<typeof StateMessage>;
export type Incident = Static<typeof Incident>;
export type EventMessage = Static<typeof EventMessage>;
export type UpdateMessage = Static<typeof UpdateMessage>;
export type ReadsMessage = Static<typeof ReadsMessage>;
export type DesiredMessage = Static<typeof DesiredMessage>;
export const DeviceId = id;

const MAX = 64 * 1024;
export const parseStatus = checker(StatusMessage, 'MESSAGE_INVALID', MAX);
export const parseHello = checker(HelloMessage, 'MESSAGE_INVALID', MAX);
export const parseState = checker(StateMessage, 'MESSAGE_INVALID', MAX);
export const parseEvent = checker(EventMessage, 'MESSAGE_INVALID', MAX);
export const parseUpdate = checker(UpdateMessage, 'MESSAGE_INVALID', MAX);
export const parseReads = checker(ReadsMessage, 'MESSAGE_INVALID', 4096);
export const parseDesired = checker(DesiredMessage, 'MESSAGE_INVALID', MAX);
