/** What can be said about a source. Which kind reads which key stands beside the key; `config-kinds.ts` enforces it. */
import { oneOf, strict } from '@skein/protocol/schema.ts';
import { DAY, MIB, SECOND } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import {
  duration,
  type ForKinds,
  name,
  optionalDuration,
  optionalText,
  peerTimeout,
  secretFile,
} from './config-types.ts';

export const SOURCE_KINDS = ['host', 'csv', 'gas', 'jsonl', 'stdin', 'command', 'mqtt', 'http'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

const KINDS =
  'host: this machine; csv, gas, jsonl: a recording; stdin, command: one JSON object per line; ' +
  'mqtt: a topic of a local broker; http: POST /v1/readings/<name> to the agent, or with `url` a poll';

/** Read by these kinds only, and needed by `neededBy` of them. */
const only = (kinds: readonly SourceKind[], neededBy: readonly SourceKind[] = []): ForKinds => ({
  kinds,
  neededBy,
});

const RECORDINGS = ['csv', 'gas', 'jsonl'] as const;
const JSON_KINDS = ['jsonl', 'stdin', 'command', 'mqtt', 'http'] as const;

export const SourceConfig = strict({
  name: name('Shown with every prediction'),
  kind: oneOf(SOURCE_KINDS, KINDS),
  model: name('The model that sees these readings; it arrives by a rollout'),
  stallAfter: optionalDuration(
    SECOND,
    7 * DAY,
    'Without a reading for this long the source is restarted; 30s, or three periods if that is longer',
  ),
  period: duration('1s', 1, DAY, 'Between two readings', only(['host', ...RECORDINGS, 'http'])),
  path: optionalText(4096, 'Recording; `.gz` is unpacked', only(RECORDINGS, RECORDINGS)),
  loop: Type.Boolean({
    default: false,
    description: 'Play a recording again from its start',
    ...only(RECORDINGS),
  }),
  timeColumn: optionalText(
    64,
    'Column with the recording’s time (seconds, milliseconds or ISO 8601); its pauses are kept',
    only(['csv', 'jsonl']),
  ),
  speed: Type.Optional(
    Type.Number({
      minimum: 0.001,
      maximum: 1e6,
      description: 'With timeColumn: 10 plays ten times as fast; 1',
      ...only(['csv', 'jsonl']),
    }),
  ),
  command: optionalText(
    4096,
    'Run by /bin/sh; prints one JSON object per line; started again when it ends',
    only(['command'], ['command']),
  ),
  values: Type.Optional(
    Type.Record(Type.String({ minLength: 1, maxLength: 64 }), Type.String({ minLength: 1, maxLength: 256 }), {
      maxProperties: 1024,
      expected: 'a map of feature to path, like { temperature: "$.sensor.temp" }',
      description:
        'Feature: JSON path, like { temperature: "$.sensor.temp" }; absent: a flat object as it is',
      ...only(JSON_KINDS),
    }),
  ),
  url: optionalText(
    2048,
    'mqtt://host:1883 or mqtts://…; http(s)://… to poll. Passwords go into `credentials`',
    only(['mqtt', 'http'], ['mqtt']),
  ),
  topic: optionalText(1024, 'Topic filter; + and # work', only(['mqtt'], ['mqtt'])),
  qos: Type.Integer({ default: 0, minimum: 0, maximum: 1, description: '0 or 1', ...only(['mqtt']) }),
  credentials: secretFile('File with one line `user:password`', only(['mqtt', 'http'])),
  ca: secretFile(
    'PEM file of who signs the peer’s certificate; default: the system’s',
    only(['mqtt', 'http']),
  ),
  certificate: secretFile('PEM file of a client certificate; needs `key`', only(['mqtt'])),
  key: secretFile('PEM file of its private key', only(['mqtt'])),
  timeout: peerTimeout('5s', 'For one answer', only(['http'])),
  maxSize: Type.Optional(
    Type.Number({
      unit: 'size',
      minimum: 16,
      maximum: 64 * MIB,
      description: 'A longer payload is refused; 64KiB, 1MiB for http',
      ...only(['mqtt', 'http']),
    }),
  ),
});
export type SourceConfig = Static<typeof SourceConfig>;
