/**
 * `skein/v1/<fleet>/<device>/<channel>`: the only place topics are built and parsed, both ways.
 * The table is the contract; AsyncAPI, ACLs and subscriptions are read off it.
 */
export const CHANNELS = {
  status: { way: 'up', qos: 1, retain: true },
  hello: { way: 'up', qos: 1, retain: true },
  state: { way: 'up', qos: 0, retain: true },
  event: { way: 'up', qos: 1, retain: false },
  update: { way: 'up', qos: 1, retain: true },
  'batch/predictions': { way: 'up', qos: 1, retain: false },
  'batch/health': { way: 'up', qos: 1, retain: false },
  'batch/drift': { way: 'up', qos: 1, retain: false },
  'batch/events': { way: 'up', qos: 1, retain: false },
  reported: { way: 'up', qos: 1, retain: true },
  desired: { way: 'down', qos: 1, retain: true },
  reads: { way: 'down', qos: 1, retain: true },
  command: { way: 'down', qos: 1, retain: false },
  result: { way: 'up', qos: 1, retain: false },
  ack: { way: 'down', qos: 1, retain: false },
} as const;

export type Channel = keyof typeof CHANNELS;
export type Way = 'up' | 'down';

/** A batch channel carries one of these. */
export const STREAMS = ['predictions', 'health', 'drift', 'events'] as const;
export type Stream = (typeof STREAMS)[number];

/** Fleet and device ids: safe as a topic level, a certificate CN, a file name and a URL segment. */
export const ID_PATTERN = '^[a-z0-9][a-z0-9-]{0,62}$';
const ID = new RegExp(ID_PATTERN);

export const isId = (text: string): boolean => ID.test(text);

export interface TopicParts {
  fleet: string;
  device: string;
  channel: Channel;
}

/** @throws never; ids are checked where they enter the system. */
export const topicFor = (fleet: string, device: string, channel: Channel): string =>
  `skein/v1/${fleet}/${device}/${channel}`;

/** The parts of a topic, or `undefined` when it is not one of ours. */
export function parseTopic(topic: string): TopicParts | undefined {
  const [root, version, fleet, device, ...rest] = topic.split('/');
  const channel = rest.join('/');
  if (root !== 'skein' || version !== 'v1' || !fleet || !device || !isId(fleet) || !isId(device))
    return undefined;
  return Object.hasOwn(CHANNELS, channel) ? { fleet, device, channel: channel as Channel } : undefined;
}

/** A device also hears what is said in its own name: by itself, by the broker for it, or by a copy of it. */
const ECHOED: Channel = 'status';

/** May this device publish (`up`) or subscribe (`down`) here? The whole broker ACL. */
export function deviceMay(device: string, fleet: string, way: Way, topic: string): boolean {
  const parts = parseTopic(topic);
  if (parts?.device !== device || parts.fleet !== fleet) return false;
  return CHANNELS[parts.channel].way === way || (way === 'down' && parts.channel === ECHOED);
}

export const batchChannel = (stream: Stream): Channel => `batch/${stream}`;

/** What a device subscribes to. */
export const heardChannels = (Object.keys(CHANNELS) as Channel[]).filter(
  (channel) => CHANNELS[channel].way === 'down' || channel === ECHOED,
);
