/** The part of the configuration that says how models come to this device, and when. */
import { strict } from '@skein/protocol/schema.ts';
import { DAY, KIB, MIB, SECOND } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { choice, duration } from './config-types.ts';

/** Bytes a second, written as a size. */
export const optionalRate = (description: string) =>
  Type.Optional(Type.Number({ unit: 'size', minimum: 4 * KIB, maximum: 2 ** 16 * MIB, description }));

export const UpdateConfig = strict({
  pollInterval: duration(
    '6h',
    SECOND,
    7 * DAY,
    'Orders are also fetched on connect and when the server hints',
  ),
  measure: choice(
    ['memory', 'disk', 'off'],
    'memory',
    'Where the variants of a model lie while the fastest is measured; disk writes all of them, off takes the first that passes',
  ),
  rate: optionalRate(
    'Models are downloaded at most this fast, in bytes a second (256KiB); a rollout may ask for less',
  ),
  mirrors: Type.Array(
    Type.String({
      pattern: '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$',
      maxLength: 2048,
      expected: 'like https://mirror.example.org/models',
      description: 'Web servers that have blobs under ADDRESS/SHA256',
    }),
    {
      default: [],
      maxItems: 8,
      description: 'Asked for models in this order before the server; never believed, the hash decides',
    },
  ),
});
