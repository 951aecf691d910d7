/**
 * The agent's configuration: one schema gives every key its type, unit, bounds, default, environment variable and
 * documentation. `parse.ts` turns a file and the environment into a {@link Config}.
 *
 * Durations are written `250ms`, `10s`, `5min`, `6h`, `7d`; sizes `512B`, `64KiB`, `64MiB`, `2GiB`. Inside the agent
 * they are milliseconds and bytes.
 */
import { recordOf, strict } from '@skein/protocol/schema.ts';
import { DAY, HOUR, MINUTE, SECOND } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import { AtRestConfig } from './at-rest.ts';
import { InferenceConfig, ShadowConfig } from './inference.ts';
import { OutboxConfig } from './outbox.ts';
import { SinkConfig } from './sinks.ts';
import { SiteConfig } from './site.ts';
import { SourceConfig } from './sources.ts';
import { choice, duration, optionalDuration } from './types.ts';
import { UpdateConfig } from './update.ts';

const Server = strict({
  deviceUrl: Type.Optional(
    Type.String({
      pattern: '^https://[^\\s/]+/?$',
      maxLength: 2048,
      expected: 'like https://fleet.example.org:8443',
      description: 'Where metadata and models come from; default: what enrolment told',
    }),
  ),
  mqttUrl: Type.Optional(
    Type.String({
      pattern: '^mqtts?://[^\\s/]+/?$',
      maxLength: 2048,
      expected: 'like mqtts://fleet.example.org:8883',
      description: 'The broker; default: what enrolment told',
    }),
  ),
});

const Uplink = strict({
  batchInterval: optionalDuration(
    100,
    DAY,
    'A batch is sealed and sent this often; 1min, 5min with storage sd, or 30min when metered',
  ),
  keepAlive: optionalDuration(5 * SECOND, 18 * HOUR, 'MQTT keep-alive; 1min, or 15min when metered'),
  format: choice(
    ['compact', 'json'],
    'compact',
    'How batches are written: json can be read by people on the broker and takes some ten times the bytes',
  ),
  driftInterval: optionalDuration(
    0,
    DAY,
    'Drift windows are added up this long, or until drift begins; 0s: each by itself, or 6h when metered',
  ),
  state: Type.Optional(
    Type.Boolean({
      description: 'Publish live state always; on, or only while someone watches when metered',
    }),
  ),
});

const Health = strict({
  interval: optionalDuration(SECOND, DAY, 'Between two health records; 30s, or 1min when metered'),
  sampleInterval: duration('5s', 500, HOUR, 'Between two samples that warnings are judged on'),
  temperatureLimit: Type.Number({
    default: 85,
    minimum: 30,
    maximum: 130,
    description: '°C; TEMPERATURE_HIGH above',
  }),
  memoryLimit: Type.Number({
    default: 0.05,
    minimum: 0,
    maximum: 0.9,
    description: 'Available share of memory; MEMORY_LOW below',
  }),
  diskLimit: Type.Number({
    default: 0.05,
    minimum: 0,
    maximum: 0.9,
    description: 'Free share of the state disk; DISK_LOW below',
  }),
  loadLimit: Type.Number({
    default: 4,
    minimum: 0.5,
    maximum: 1000,
    description: 'Load average per processor; LOAD_HIGH above',
  }),
});

/** A server on this machine that runs variants which name it; see agent/examples/sidecar/README.md. */
export const BackendConfig = strict({
  url: Type.String({
    pattern: '^(unix:/.{1,106}|http://(localhost|127(\\.\\d{1,3}){3}|\\[::1\\])(:\\d{1,5})?/?)$',
    expected: 'unix:/run/NAME.sock or http://127.0.0.1:PORT',
    description: 'Where it listens; only on this machine',
  }),
  load: choice(
    ['sidecar', 'repository'],
    'sidecar',
    'sidecar: it gets the path and says the hash of what it loaded; repository: it gets the bytes (Triton)',
  ),
  timeout: duration('30s', 10, HOUR, 'Of one inference'),
  loadTimeout: duration('30min', SECOND, DAY, 'Of a load, compiling included'),
  connections: Type.Integer({ default: 4, minimum: 1, maximum: 64, description: 'Requests at once' }),
  target: Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: 'Its hardware, if it does not say so itself' }),
  ),
  sdk: Type.Optional(
    Type.String({
      pattern: '^[0-9]{1,6}(\\.[0-9]{1,6}){0,3}$',
      expected: 'a version such as 4.20.0',
      description: 'Its runtime’s version, if it does not say so itself',
    }),
  ),
});

const Api = strict({
  host: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    maxLength: 255,
    description: 'Anything but loopback needs a tokenFile',
  }),
  port: Type.Integer({ default: 9700, minimum: 0, maximum: 65_535, description: '0 picks a free port' }),
  grpc: Type.Boolean({
    default: true,
    description: 'The same over gRPC; it takes memory from its first connection on',
  }),
  grpcPort: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 65_535,
      description: 'Of gRPC; when absent the one after port, if it is free. 0 picks a free port',
    }),
  ),
  grpcSocket: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 107,
      description: 'Unix socket for gRPC too, for this user and group; relative to stateDir',
    }),
  ),
  socket: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 107,
      description: 'Unix socket to listen on too, for this user and group; relative to stateDir',
    }),
  ),
  busyPoll: Type.Boolean({
    default: true,
    description:
      'Stay awake 0.2 ms for a client that asks again at once: faster answers, more of one processor',
  }),
  tokenFile: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 4096,
      description:
        'File with the token that clients send as `Authorization: Bearer`; relative to the file’s folder',
    }),
  ),
});

export const ConfigSchema = strict({
  stateDir: Type.String({
    default: '/var/lib/skein-agent',
    minLength: 1,
    maxLength: 4096,
    description: 'Identity, buffer, trust and models; relative to the file’s directory',
  }),
  profile: choice(['lan', 'metered'], 'lan', 'Defaults of the uplink: metered sends rarely'),
  storage: choice(['normal', 'sd'], 'normal', 'Defaults of the disk: sd commits rarely to spare flash'),
  tags: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), {
    default: [],
    maxItems: 32,
    description: 'Hardware tags that a model may ask for',
  }),
  sources: Type.Array(SourceConfig, {
    default: [{ name: 'host', kind: 'host', model: 'host' }],
    maxItems: 32,
    description: 'Where readings come from',
  }),
  sinks: Type.Array(SinkConfig, {
    default: [],
    maxItems: 16,
    description: 'Where predictions go beside the buffer; none of them can hold up inference',
  }),
  server: Server,
  outbox: OutboxConfig,
  atRest: AtRestConfig,
  uplink: Uplink,
  health: Health,
  inference: InferenceConfig,
  backends: recordOf(BackendConfig, {
    keys: '^[a-z0-9][a-z0-9._-]{0,31}$',
    default: {},
    maxProperties: 8,
    description: 'Servers on this machine that run variants of other kinds, by the name that variants use',
  }),
  shadows: Type.Array(ShadowConfig, {
    default: [],
    maxItems: 8,
    description: 'Challengers whose answers are compared and never used',
  }),
  update: UpdateConfig,
  site: SiteConfig,
  api: Api,
});

type Parsed = Static<typeof ConfigSchema>;
/** A source with its own limit for silence. */
export type SourceOf = SourceConfig & Required<Pick<SourceConfig, 'stallAfter'>>;
export type BackendConfig = Static<typeof BackendConfig>;
export interface Config extends Parsed {
  sources: SourceOf[];
  outbox: Parsed['outbox'] & Required<Pick<Parsed['outbox'], 'commitInterval'>>;
  uplink: Required<Parsed['uplink']>;
  health: Required<Parsed['health']>;
  update: Parsed['update'] & Required<Pick<Parsed['update'], 'pollInterval'>>;
}

/** Fills what the profiles and a source's beat decide. */
export function withProfiles(parsed: Parsed): Config {
  const metered = parsed.profile === 'metered';
  const sd = parsed.storage === 'sd';
  return {
    ...parsed,
    sources: parsed.sources.map((source) => ({
      ...source,
      stallAfter: source.stallAfter ?? Math.max(30 * SECOND, 3 * source.period),
    })),
    outbox: { commitInterval: sd ? MINUTE : 10 * SECOND, ...parsed.outbox },
    uplink: {
      batchInterval: metered ? 30 * MINUTE : sd ? 5 * MINUTE : MINUTE,
      keepAlive: metered ? 15 * MINUTE : MINUTE,
      driftInterval: metered ? 6 * HOUR : 0,
      state: !metered,
      ...parsed.uplink,
    },
    health: { interval: metered ? MINUTE : 30 * SECOND, ...parsed.health },
    update: { pollInterval: metered ? 24 * HOUR : 6 * HOUR, ...parsed.update },
  };
}
