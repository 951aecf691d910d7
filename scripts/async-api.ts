/** AsyncAPI 3 of the MQTT contract, from the device's point of view: it sends on `up` channels, receives on `down`. */
import { AckMessage } from '@skein/protocol/batch/ack.ts';
import {
  DesiredMessage,
  EventMessage,
  HelloMessage,
  ReadsMessage,
  StateMessage,
  StatusMessage,
  UpdateMessage,
} from '@skein/protocol/messages.ts';
import { DriftRecord, EventRecord, HealthRecord, PredictionRecord } from '@skein/protocol/records.ts';
import { CHANNELS, type Channel, ID_PATTERN } from '@skein/protocol/topics.ts';

interface Payload {
  summary: string;
  contentType: string;
  /** Of the payload itself when it is JSON; of what is inside when it is not. */
  schema?: unknown;
}

const json = (summary: string, schema: unknown): Payload => ({
  summary,
  contentType: 'application/json',
  schema,
});
const bytes = (summary: string, schema?: unknown): Payload => ({
  summary,
  contentType: 'application/octet-stream',
  ...(schema ? { schema } : {}),
});
const batch = (of: string, schema: unknown) =>
  bytes(
    `Sealed batch of ${of}: chained, signed by the device, see protocol/BATCH.md (or JSON, then it starts with {)`,
    schema,
  );

const PAYLOADS: Record<Channel, Payload> = {
  status: json('Liveness; also the will', StatusMessage),
  hello: json('What the device is and runs', HelloMessage),
  state: json('Latest reading and health, flat', StateMessage),
  event: json('One change of one incident', EventMessage),
  update: json('Installed and latest version', UpdateMessage),
  'batch/predictions': batch('predictions', PredictionRecord),
  'batch/health': batch('health readings', HealthRecord),
  'batch/drift': batch('drift counts', DriftRecord),
  'batch/events': batch('incidents and update reports', EventRecord),
  reported: bytes('Signed envelope: what the device runs'),
  desired: json('Hint that the director has something for this device', DesiredMessage),
  reads: bytes('Signed envelope: which batches the server reads', ReadsMessage),
  command: bytes('Signed envelope: an expiring command'),
  result: bytes('Signed envelope: the result of a command'),
  ack: bytes(
    'Signed envelope: how far the server has stored a stream; or a short acknowledgement (starts with SKA1)',
    AckMessage,
  ),
};

/** `batch/health` → `batchHealth`: AsyncAPI keys hold no slash. */
const keyOf = (channel: string): string =>
  channel.replace(/\/(.)/g, (_, letter: string) => letter.toUpperCase());
const capital = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

function messageOf(channel: Channel) {
  const { summary, contentType, schema } = PAYLOADS[channel];
  if (contentType === 'application/json')
    return { name: keyOf(channel), summary, contentType, payload: schema };
  const payload = { type: 'string', format: 'binary', ...(schema ? { 'x-decoded': schema } : {}) };
  return { name: keyOf(channel), summary, contentType, payload };
}

export function asyncApiDocument(version: string): Record<string, unknown> {
  const channels = Object.keys(CHANNELS) as Channel[];
  const parameter = (description: string) => ({ description: `${description}; ${ID_PATTERN}` });
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Skein MQTT contract',
      version,
      license: { name: 'Apache-2.0' },
      description:
        'MQTT 3.1.1. JSON channels are for people and tools and live only; backlog travels in batches.',
    },
    defaultContentType: 'application/json',
    servers: {
      devices: { host: 'localhost:8883', protocol: 'mqtts', description: 'mTLS; client id = certificate CN' },
      local: { host: 'localhost:1883', protocol: 'mqtt', description: 'Loopback, read-only' },
    },
    channels: Object.fromEntries(
      channels.map((channel) => [
        keyOf(channel),
        {
          address: `skein/v1/{fleet}/{device}/${channel}`,
          parameters: { fleet: parameter('Name of the fleet'), device: parameter('Id of the device') },
          messages: { [keyOf(channel)]: { $ref: `#/components/messages/${keyOf(channel)}` } },
        },
      ]),
    ),
    operations: Object.fromEntries(
      channels.map((channel) => {
        const { way, qos, retain } = CHANNELS[channel];
        const action = way === 'up' ? 'send' : 'receive';
        return [
          `${action}${capital(keyOf(channel))}`,
          {
            action,
            channel: { $ref: `#/channels/${keyOf(channel)}` },
            summary: PAYLOADS[channel].summary,
            messages: [{ $ref: `#/channels/${keyOf(channel)}/messages/${keyOf(channel)}` }],
            bindings: { mqtt: { qos, retain } },
          },
        ];
      }),
    ),
    components: {
      messages: Object.fromEntries(channels.map((channel) => [keyOf(channel), messageOf(channel)])),
    },
  };
}
