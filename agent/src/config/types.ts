/** The words the configuration's schema is made of: a type with its unit, bounds, default and documentation. */
import { type Millis, SECOND } from '@skein/protocol/units.ts';
import { Type } from 'typebox';

/** `kinds`: only these kinds of a list's entries read the key. `neededBy`: and these cannot do without. */
export interface ForKinds {
  kinds?: readonly string[];
  neededBy?: readonly string[];
}

export const duration = (
  text: string,
  minimum: Millis,
  maximum: Millis,
  description: string,
  more: ForKinds = {},
) => Type.Number({ unit: 'duration', default: text, minimum, maximum, description, ...more });
export const optionalDuration = (
  minimum: Millis,
  maximum: Millis,
  description: string,
  more: ForKinds = {},
) => Type.Optional(Type.Number({ unit: 'duration', minimum, maximum, description, ...more }));
export const choice = <const T extends string>(values: readonly T[], fallback: T, description: string) =>
  Type.Unsafe<T>({ type: 'string', enum: [...values], default: fallback, description });
export const optionalChoice = <const T extends string>(
  values: readonly T[],
  description: string,
  more: ForKinds = {},
) => Type.Optional(Type.Unsafe<T>({ type: 'string', enum: [...values], description, ...more }));
export const optionalText = (
  maxLength: number,
  description: string,
  more: ForKinds & { expected?: string; pattern?: string } = {},
) => Type.Optional(Type.String({ minLength: 1, maxLength, description, ...more }));
export const name = (description: string, more: ForKinds = {}) =>
  Type.String({
    pattern: '^[a-z0-9][a-z0-9._-]{0,62}$',
    description,
    expected: 'a name of a-z, 0-9, . _ -',
    ...more,
  });

/** Of a local peer that is waited for. */
export const peerTimeout = (text: string, description: string, more: ForKinds) =>
  duration(text, 100, 60 * SECOND, description, more);

/** A file that holds what must not stand in the configuration. */
export const secretFile = (description: string, more: ForKinds) => optionalText(4096, description, more);
