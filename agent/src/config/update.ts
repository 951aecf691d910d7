/** The part of the configuration that says how models come to this device, and when. */
import { strict } from '@skein/protocol/schema.ts';
import { DAY, KIB, MIB, MINUTE, SECOND } from '@skein/protocol/units.ts';
import { Type } from 'typebox';
import { choice, duration, optionalDuration, optionalText } from './types.ts';

/** Bytes a second, written as a size. */
export const optionalRate = (description: string) =>
  Type.Optional(Type.Number({ unit: 'size', minimum: 4 * KIB, maximum: 2 ** 16 * MIB, description }));

/** A window in which this device may be updated. */
export const WindowConfig = strict({
  cron: Type.String({
    minLength: 9,
    maxLength: 128,
    description: 'When it opens: minute hour day month weekday, such as `0 2 * * 1-5`',
  }),
  duration: duration('2h', MINUTE, 7 * DAY, 'How long it stays open'),
  zone: optionalText(
    64,
    'Time zone of the wall clock that is meant, such as Europe/Berlin; default: the system’s',
  ),
});

export const UpdateConfig = strict({
  pollInterval: optionalDuration(
    SECOND,
    7 * DAY,
    'Orders are also fetched on connect and when the server hints; 6h, or 24h when metered',
  ),
  measure: choice(
    ['memory', 'disk', 'off'],
    'memory',
    'Where the variants of a model lie while the fastest is measured; disk writes all of them, off takes the first that passes',
  ),
  windows: Type.Array(WindowConfig, {
    default: [],
    maxItems: 16,
    description:
      'Models are downloaded and installed only then; a download pauses outside. Without any: always',
  }),
  metered: choice(
    ['allow', 'site', 'defer'],
    'allow',
    'Over a metered link: allow downloads, take them only from the site’s own cache, or wait for another link',
  ),
  meteredInterfaces: Type.Array(
    Type.String({ pattern: '^[A-Za-z0-9_.:@*-]{1,32}$', expected: 'a name such as wwan*' }),
    {
      default: ['wwan*', 'ppp*', 'rmnet*'],
      maxItems: 32,
      description: 'The uplink is metered while its default route is on one of these; * is any of them',
    },
  ),
  urgent: choice(
    ['obey', 'ignore'],
    'obey',
    'Whether a rollout that is marked urgent passes windows and `metered: defer`; never `metered: site`',
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
