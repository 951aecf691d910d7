/** The part of the configuration about the other devices in the same network, which fetch a model once for all. */
import { strict } from '@skein/protocol/schema.ts';
import { HOUR, KIB, MIB } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { duration } from './types.ts';
import { optionalRate } from './update.ts';

const ADDRESS = {
  pattern: '^https://[^\\s/?#@]+:\\d{1,5}$',
  maxLength: 300,
  expected: 'like https://192.168.1.20:9702',
};

export const SiteConfig = strict({
  serve: Type.Boolean({
    default: false,
    description: 'Give models to other devices of the fleet, by hash, over mutual TLS',
  }),
  host: Type.String({
    default: '0.0.0.0',
    minLength: 1,
    maxLength: 255,
    description: 'Where it listens; only devices of the fleet get an answer',
  }),
  port: Type.Integer({ default: 9702, minimum: 0, maximum: 65_535, description: '0 picks a free port' }),
  clients: Type.Integer({
    default: 64,
    minimum: 1,
    maximum: 1024,
    description: 'Answers at once; others are told to come back',
  }),
  rate: optionalRate('All answers together are at most this fast, in bytes a second'),
  cache: Type.Number({
    unit: 'size',
    default: '1GiB',
    minimum: 64 * KIB,
    maximum: 2 ** 20 * MIB,
    description: 'What may lie on the disk for others; the longest unused goes first',
  }),
  peers: Type.Array(Type.String({ ...ADDRESS, description: 'Addresses of agents that serve' }), {
    default: [],
    maxItems: 16,
    description: 'Asked for models before mirrors and the server; the same list on every device of the site',
  }),
  self: Type.Optional(
    Type.String({ ...ADDRESS, description: 'Which of the peers this device is, if it is one' }),
  ),
  servers: Type.Array(
    Type.String({
      pattern: '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$',
      maxLength: 2048,
      expected: 'like http://192.168.1.2/models',
      description: 'Web servers in this network that have blobs under ADDRESS/SHA256',
    }),
    { default: [], maxItems: 8, description: 'Like update.mirrors, but not over the uplink' },
  ),
  wait: duration(
    '2min',
    0,
    HOUR,
    'While the site has trouble, the uplink is not used for about this long, so that not all devices use it at once',
  ),
});
