/** What can be said about a sink. Which kind reads which key stands beside the key; `kinds.ts` enforces it. */
import { oneOf, strict } from '@skein/protocol/schema.ts';
import { type Static, Type } from 'typebox';
import { ONLY } from '../sinks/filter.ts';
import { PLACEHOLDERS, templateFault } from '../sinks/topic-template.ts';
import type { KindRule } from './fault.ts';
import { choice, type ForKinds, name, optionalText, peerTimeout, secretFile } from './types.ts';
import { pairFault, urlFault } from './url.ts';

export const SINK_KINDS = ['mqtt', 'webhook', 'command'] as const;
type SinkKind = (typeof SINK_KINDS)[number];

const only = (kinds: readonly SinkKind[], neededBy: readonly SinkKind[] = []): ForKinds => ({
  kinds,
  neededBy,
});

export const SinkConfig = strict({
  name: name('Shown in status and metrics'),
  kind: oneOf(
    SINK_KINDS,
    'mqtt: JSON on a topic of a local broker; webhook: POST of JSON; command: JSON lines on its standard input',
  ),
  model: Type.Optional(name('Of this model only; absent: of all')),
  only: choice(
    ONLY,
    'all',
    'alarms; changes: where label or alarm differs from the one before of the source',
  ),
  queue: Type.Integer({
    default: 1000,
    minimum: 1,
    maximum: 100_000,
    description: 'Messages that wait at most; beyond that the oldest are left out and counted',
  }),
  url: optionalText(
    2048,
    'mqtt://host:1883 or mqtts://…, or http(s)://…; passwords go into `credentials`',
    only(['mqtt', 'webhook'], ['mqtt', 'webhook']),
  ),
  topic: optionalText(
    1024,
    `Template of the topic, like home/{device}/{model}; of ${PLACEHOLDERS.map((each) => `{${each}}`).join(' ')}`,
    only(['mqtt'], ['mqtt']),
  ),
  qos: Type.Integer({ default: 0, minimum: 0, maximum: 1, description: '0 or 1', ...only(['mqtt']) }),
  retain: Type.Boolean({
    default: false,
    description: 'The broker keeps the latest of a topic',
    ...only(['mqtt']),
  }),
  batch: Type.Integer({
    default: 1,
    minimum: 1,
    maximum: 1000,
    description: 'More than 1: the body is an array of up to so many',
    ...only(['webhook']),
  }),
  timeout: peerTimeout('10s', 'For one answer', only(['webhook'])),
  secret: secretFile('File with the secret that signs each request (Standard Webhooks)', only(['webhook'])),
  credentials: secretFile('File with one line `user:password`', only(['mqtt', 'webhook'])),
  ca: secretFile(
    'PEM file of who signs the peer’s certificate; default: the system’s',
    only(['mqtt', 'webhook']),
  ),
  certificate: secretFile('PEM file of a client certificate; needs `key`', only(['mqtt'])),
  key: secretFile('PEM file of its private key', only(['mqtt'])),
  command: optionalText(4096, 'Run by /bin/sh; started again when it ends', only(['command'], ['command'])),
});
export type SinkConfig = Static<typeof SinkConfig>;

const topicFault = ({ topic = '' }: SinkConfig) => {
  const odd = templateFault(topic);
  if (odd === undefined) return undefined;
  const known = PLACEHOLDERS.map((each) => `{${each}}`).join(' ');
  return {
    key: 'topic',
    what: `“${odd}” cannot stand in it`,
    fix: `A topic without wildcards, of words and ${known}.`,
  };
};

export const sinkFault: KindRule<SinkConfig> = (sink, given) => {
  if (sink.kind === 'webhook') return urlFault(sink.url!, ['http', 'https'], given);
  if (sink.kind === 'mqtt')
    return urlFault(sink.url!, ['mqtt', 'mqtts'], given) ?? topicFault(sink) ?? pairFault(given);
  return undefined;
};
