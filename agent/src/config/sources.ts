/** What can be said about a source. Which kind reads which key stands beside the key; `kinds.ts` enforces it. */
import { oneOf, recordOf, strict } from '@skein/protocol/schema.ts';
import { DAY, MIB, SECOND } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import { PIXEL_FORMATS } from '../sources/frames/raw.ts';
import {
  duration,
  type ForKinds,
  name,
  optionalChoice,
  optionalDuration,
  optionalText,
  peerTimeout,
  secretFile,
} from './types.ts';

export const SOURCE_KINDS = [
  'host',
  'csv',
  'gas',
  'jsonl',
  'stdin',
  'command',
  'mqtt',
  'http',
  'frames',
  'images',
  'snapshots',
] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

const KINDS =
  'host: this machine; csv, gas, jsonl: a recording; stdin, command: one JSON object per line; ' +
  'mqtt: a topic of a local broker; http: POST /v1/readings/<name> to the agent, or with `url` a poll; ' +
  'frames: video that a command writes; images: a folder of JPEG and PNG; snapshots: GET of one, again and again';

/** Read by these kinds only, and needed by `neededBy` of them. */
const only = (kinds: readonly SourceKind[], neededBy: readonly SourceKind[] = []): ForKinds => ({
  kinds,
  neededBy,
});

const RECORDINGS = ['csv', 'gas', 'jsonl'] as const;
const JSON_KINDS = ['jsonl', 'stdin', 'command', 'mqtt', 'http'] as const;

/** Of a picture, unless its source says otherwise. */
export const MAX_PICTURE = 16 * MIB;

export const FRAME_FORMATS = ['rawvideo', 'y4m', 'mjpeg'] as const;
const side = (description: string) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: 16_384, description, ...only(['frames']) }));

export const SourceConfig = strict({
  name: name('Shown with every prediction'),
  kind: oneOf(SOURCE_KINDS, KINDS),
  model: name('The model that sees these readings; it arrives by a rollout'),
  stallAfter: optionalDuration(
    SECOND,
    7 * DAY,
    'Without a reading for this long the source is restarted; 30s, or three periods if that is longer',
  ),
  period: duration(
    '1s',
    1,
    DAY,
    'Between two readings',
    only(['host', ...RECORDINGS, 'http', 'images', 'snapshots']),
  ),
  path: optionalText(
    4096,
    'Recording (`.gz` is unpacked), or the folder of images',
    only([...RECORDINGS, 'images'], [...RECORDINGS, 'images']),
  ),
  loop: Type.Boolean({
    default: false,
    description: 'Start again at the end instead of ending',
    ...only([...RECORDINGS, 'images']),
  }),
  watch: Type.Boolean({
    default: false,
    description: 'Go on with the files that appear later',
    ...only(['images']),
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
    'Run by /bin/sh; prints one JSON object per line, or frames; started again when it ends',
    only(['command', 'frames'], ['command', 'frames']),
  ),
  format: optionalChoice(FRAME_FORMATS, 'What the command writes', only(['frames'], ['frames'])),
  width: side('Of a rawvideo frame, in pixels'),
  height: side('Of a rawvideo frame, in pixels'),
  pixels: optionalChoice(PIXEL_FORMATS, 'Layout of a rawvideo frame', only(['frames'])),
  values: Type.Optional(
    recordOf(Type.String({ minLength: 1, maxLength: 256 }), {
      maxProperties: 1024,
      expected: 'a map of feature to path, like { temperature: "$.sensor.temp" }',
      description:
        'Feature: JSON path, like { temperature: "$.sensor.temp" }; absent: a flat object as it is',
      ...only(JSON_KINDS),
    }),
  ),
  url: optionalText(
    2048,
    'mqtt://host:1883 or mqtts://…; http(s)://… to ask. Passwords go into `credentials`',
    only(['mqtt', 'http', 'snapshots'], ['mqtt', 'snapshots']),
  ),
  topic: optionalText(1024, 'Topic filter; + and # work', only(['mqtt'], ['mqtt'])),
  qos: Type.Integer({ default: 0, minimum: 0, maximum: 1, description: '0 or 1', ...only(['mqtt']) }),
  credentials: secretFile('File with one line `user:password`', only(['mqtt', 'http', 'snapshots'])),
  ca: secretFile(
    'PEM file of who signs the peer’s certificate; default: the system’s',
    only(['mqtt', 'http', 'snapshots']),
  ),
  certificate: secretFile('PEM file of a client certificate; needs `key`', only(['mqtt'])),
  key: secretFile('PEM file of its private key', only(['mqtt'])),
  timeout: peerTimeout('5s', 'For one answer', only(['http', 'snapshots'])),
  maxSize: Type.Optional(
    Type.Number({
      unit: 'size',
      minimum: 16,
      maximum: 64 * MIB,
      description: 'A longer payload or picture is refused; 64KiB, 1MiB for http, 16MiB for pictures',
      ...only(['mqtt', 'http', 'frames', 'images', 'snapshots']),
    }),
  ),
});
export type SourceConfig = Static<typeof SourceConfig>;
