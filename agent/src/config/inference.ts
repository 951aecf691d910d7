/** How models run on this device, and which are compared. */
import { recordOf, strict } from '@skein/protocol/schema.ts';
import { HOUR } from '@skein/protocol/units.ts';
import { type Static, Type } from 'typebox';
import { SHADOW_NAME_LENGTH } from '../inference/shadow.ts';
import { problem, type Where } from './problem.ts';
import { choice, duration, name, optionalChoice } from './types.ts';

const PLACEMENTS = ['auto', 'inline', 'worker'] as const;
const threads = { minimum: 1, maximum: 64 };
const maxBatch = { minimum: 1, maximum: 1024 };

const ModelConfig = strict({
  placement: optionalChoice(PLACEMENTS, 'As inference.placement'),
  threads: Type.Optional(Type.Integer({ ...threads, description: 'As inference.threads' })),
  maxBatch: Type.Optional(Type.Integer({ ...maxBatch, description: 'As inference.maxBatch' })),
});

export const InferenceConfig = strict({
  placement: choice(PLACEMENTS, 'auto', 'auto measures: inline far below the loop’s budget'),
  threads: Type.Integer({ default: 1, ...threads, description: 'Per model' }),
  providers: Type.Array(
    Type.String({ pattern: '^[a-z]{2,32}$', expected: 'a provider such as cpu, cuda, tensorrt' }),
    {
      default: ['cpu'],
      minItems: 1,
      maxItems: 8,
      description: 'Execution providers by preference; the first that works is used, and status says why',
    },
  ),
  maxBatch: Type.Integer({
    default: 32,
    ...maxBatch,
    description: 'Requests that came together share a run of at most this many rows; 1: never',
  }),
  queue: Type.Integer({
    default: 64,
    minimum: 1,
    maximum: 65_536,
    description: 'Requests that may wait for one model; one more is refused with OVERLOADED',
  }),
  timeout: duration('30s', 10, HOUR, 'Of a request that names none, its waiting included, and of any run'),
  nonFinite: choice(
    ['reject', 'pass', 'flag'],
    'reject',
    'API requests whose tensors hold NaN or an infinity; all are counted',
  ),
  models: recordOf(ModelConfig, {
    keys: '^[a-z0-9][a-z0-9._-]{0,62}$',
    default: {},
    maxProperties: 64,
    description: 'What is different for single models',
  }),
});

export const ShadowConfig = strict({
  model: name('The model that works'),
  challenger: name('The model that is compared with it on the same inputs; it too arrives by a rollout'),
  cpuBudget: Type.Number({
    default: 0.2,
    minimum: 0.001,
    maximum: 1,
    description: 'Share of one core for comparisons; what does not fit is skipped and counted',
  }),
});
export type ShadowConfig = Static<typeof ShadowConfig>;

/**
 * A challenger challenges another model, and one alone; health metrics tell challengers apart by as much of their names
 * as fits into a metric's. @throws SkeinError CONFIG_INVALID
 */
export function checkShadows(shadows: readonly ShadowConfig[], where: Where): void {
  const names = shadows.map(({ challenger }) => challenger.slice(0, SHADOW_NAME_LENGTH));
  shadows.forEach(({ model, challenger }, i) => {
    const path = ['shadows', i, 'challenger'];
    if (model === challenger) throw problem(where(path), path, 'a model can not challenge itself');
    if (names.indexOf(names[i]!) !== i)
      throw problem(where(path), path, `${names[i]} challenges another model already`);
  });
}
