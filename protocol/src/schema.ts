/**
 * Bounded parsing: the bytes are measured before they are parsed, the value is checked before it is typed.
 * Schemas are TypeBox, so one definition yields the type, the validator and the published contract.
 */

import { type Static, type TSchema, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { type ErrorCode, SkeinError } from './errors.ts';
import type { Bytes } from './units.ts';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** A closed string union; JSON Schema `enum` (smaller and clearer in OpenAPI than `anyOf` of constants). */
export const oneOf = <const T extends string>(values: readonly T[], description?: string) =>
  Type.Unsafe<T>({ type: 'string', enum: [...values], ...(description ? { description } : {}) });

/** An object that refuses keys it does not know: a misspelt key is an error, not a silent default. */
export const strict = <T extends Record<string, TSchema>>(properties: T, description?: string) =>
  Type.Object(properties, { additionalProperties: false, ...(description ? { description } : {}) });

export interface Checker<T> {
  /** @throws SkeinError with `code`, naming the first wrong place. */
  check(value: unknown, what: string): T;
  /** @throws SkeinError with `code` when too long, not UTF-8, not JSON or not of the schema. */
  parse(bytes: Uint8Array, what: string): T;
}

/** Compiles `schema` once. `maxBytes` bounds {@link Checker.parse} before JSON.parse sees anything. */
export function checker<S extends TSchema>(
  schema: S,
  code: ErrorCode,
  maxBytes: Bytes = 1 << 20,
): Checker<Static<S>> {
  const compiled = Compile(schema);
  const check = (value: unknown, what: string): Static<S> => {
    if (compiled.Check(value)) return value as Static<S>;
    const first = [...compiled.Errors(value)].at(-1);
    throw new SkeinError(code, `${what}: ${first?.instancePath || '/'} ${first?.message ?? 'is not valid'}`, {
      data: { path: first?.instancePath ?? '' },
    });
  };
  const parse = (bytes: Uint8Array, what: string): Static<S> => {
    if (bytes.length > maxBytes) {
      throw new SkeinError(code, `${what}: ${bytes.length} bytes, at most ${maxBytes} are accepted`);
    }
    let value: unknown;
    try {
      value = JSON.parse(decoder.decode(bytes));
    } catch (cause) {
      throw new SkeinError(code, `${what}: not UTF-8 JSON`, { cause });
    }
    return check(value, what);
  };
  return { check, parse };
}
