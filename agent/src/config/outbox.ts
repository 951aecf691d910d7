/** The buffer: how often it commits, what it may hold, what goes first, and which predictions are kept at all. */
import { recordOf, strict } from '@skein/protocol/schema.ts';
import { DAY, HOUR, KIB, MIB, MINUTE } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import type { DropPolicy } from '../outbox/retention.ts';
import { KEEPS } from '../outbox/sampling.ts';
import { problem, type Where } from './problem.ts';
import { choice, optionalDuration } from './types.ts';

const size = (text: string, description: string) =>
  Type.Number({ unit: 'size', default: text, minimum: 64 * KIB, maximum: 2 ** 20 * MIB, description });
const age = (description: string) => optionalDuration(MINUTE, 3650 * DAY, description);
const policy = <const T extends DropPolicy>(values: readonly T[], description: string) =>
  choice<T>(values, 'oldest' as T, description);

const Sampling = strict({
  keep: choice(
    KEEPS,
    'all',
    'all; every: each Nth; share: a part by chance; notable: changes of label or alarm, and scores below `below`. Alarms are always kept',
  ),
  every: Type.Optional(
    Type.Integer({ minimum: 2, maximum: 1_000_000, description: 'For keep: every. One of so many is kept' }),
  ),
  share: Type.Optional(
    Type.Number({ minimum: 0, maximum: 1, description: 'For keep: share. The part that is kept' }),
  ),
  below: Type.Optional(
    Type.Number({ description: 'For keep: notable. Answers with a lower score are kept' }),
  ),
  atLeast: optionalDuration(100, DAY, 'For keep: notable. One is kept this often, so that calm shows'),
});
export type SamplingConfig = Static<typeof Sampling>;

export const OutboxConfig = strict({
  commitInterval: optionalDuration(
    100,
    HOUR,
    'Readings of at most this long are lost in a power cut; 10s, or 60s with storage sd',
  ),
  caps: strict({
    predictions: size('256MiB', 'What predictions may take on the disk; beyond this `policies` decides'),
    health: size('32MiB', 'Same for health'),
    drift: size('32MiB', 'Same for drift'),
    events: size('32MiB', 'Same for incidents and update reports'),
  }),
  ages: strict({
    predictions: age('Predictions that were not delivered for so long are dropped; absent: never'),
    health: age('Same for health'),
    drift: age('Same for drift'),
    events: age('Same for incidents and update reports'),
  }),
  policies: strict({
    predictions: policy(
      ['oldest', 'downsample', 'keep-alarms'],
      'What goes first at the cap; downsample: every other, so that the whole time stays; keep-alarms: what is none',
    ),
    health: policy(['oldest', 'downsample'], 'Same for health'),
    drift: policy(
      ['oldest', 'downsample', 'keep-alarms'],
      'Same for drift; an alarm is a window that drifted',
    ),
    events: policy(
      ['oldest', 'keep-alarms'],
      'Same for events; alarms are critical incidents and update reports',
    ),
  }),
  sampling: recordOf(Sampling, {
    keys: '^[a-z0-9][a-z0-9._-]{0,62}$',
    default: {},
    maxProperties: 64,
    description: 'Which predictions of a model are recorded; absent: all. What is left out is counted',
  }),
});

const READ_BY: Record<string, readonly string[]> = {
  all: [],
  every: ['every'],
  share: ['share'],
  notable: ['below', 'atLeast'],
};
const NEEDED = ['every', 'share'];

/** A key that would do nothing is refused, and so is a rule without its figure. @throws SkeinError CONFIG_INVALID */
export function checkSampling(sampling: Record<string, SamplingConfig>, where: Where): void {
  for (const [model, rule] of Object.entries(sampling)) {
    const path = ['outbox', 'sampling', model];
    const read = READ_BY[rule.keep]!;
    const idle = Object.keys(rule).find((key) => key !== 'keep' && !read.includes(key));
    if (idle) throw problem(where([...path, idle]), [...path, idle], `does nothing with keep: ${rule.keep}`);
    const absent = NEEDED.find((key) => read.includes(key) && rule[key as 'every' | 'share'] === undefined);
    if (absent) throw problem(where(path), path, `keep: ${rule.keep} needs \`${absent}\``);
  }
}
