/**
 * Bounded parsing: the bytes are measured before they are parsed, the value is checked before it is typed.
 * Schemas are TypeBox, so one definition yields the type, the validator and the published contract.
 */

import { type Static, type TObjectOptions, type TSchema, Type } from 'typebox';
import { Check, Compile, Errors } from 'typebox/schema';
import { type ErrorCode, SkeinError } from './errors.ts';
import { beginningOf, isWithin, JsonRefused, parseJson } from './json-text.ts';
import type { Bytes } from './units.ts';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** A closed string union; JSON Schema `enum` (smaller and clearer in OpenAPI than `anyOf` of constants). */
export const oneOf = <const T extends string>(values: readonly T[], description?: string) =>
  Type.Unsafe<T>({ type: 'string', enum: [...values], ...(description ? { description } : {}) });

/** An object that refuses keys it does not know: a misspelt key is an error, not a silent default. */
export const strict = <T extends Record<string, TSchema>>(properties: T, description?: string) =>
  Type.Object(properties, { additionalProperties: false, ...(description ? { description } : {}) });

/** Whatever key, as TypeBox writes it. */
const ANY_KEY = '^.*$';

/**
 * An object of any keys that match `keys`, a regular expression. `Type.Record` gives the same schema, and brings TypeBox's
 * whole language of types into each program that uses it: 90 kB that an agent would read at each start.
 */
export const recordOf = <T extends TSchema>(
  value: T,
  { keys = ANY_KEY, ...options }: TObjectOptions & { keys?: string; expected?: string } = {},
) =>
  Type.Unsafe<Record<string, Static<T>>>({
    type: 'object',
    patternProperties: { [keys]: value },
    ...options,
  });

export interface Checker<T> {
  /** @throws SkeinError with `code`, naming the first wrong place. */
  check(value: unknown, what: string): T;
  /** @throws SkeinError with `code` when too long, not UTF-8, not JSON (`json-text.ts`) or not of the schema. */
  parse(bytes: Uint8Array, what: string): T;
}

interface Validator<S extends TSchema> {
  Check(value: unknown): value is Static<S>;
  Errors(value: unknown): SchemaProblem[];
}

interface SchemaProblem {
  keyword: string;
  instancePath: string;
  params: object;
  message: string;
}

/** Names the key that is too many, which the validator leaves to its parameters. */
function describeProblem({ keyword, instancePath, params, message }: SchemaProblem): string {
  const { additionalProperties } = params as { additionalProperties?: string[] };
  const path = instancePath || '/';
  return keyword === 'additionalProperties' && additionalProperties
    ? `${path} has unknown keys: ${additionalProperties.slice(0, 8).join(', ')}`
    : `${path} ${message}`;
}

/** Compiling a schema costs as much as some hundred values checked by reading it, and most see few in a process's life. */
const READ_FIRST = 16;
/** Reading it takes some µs and a hundred bytes for each part of a value: from a hostile megabyte, minutes and gigabytes. */
const READ_PARTS = 2_000;
const DESCRIBED_PARTS = 16_384;

/** As much of a value as is looked through for what is wrong with it. */
export const describable = (value: unknown): unknown => beginningOf(value, DESCRIBED_PARTS);

/**
 * Small values are checked by reading `schema`; where they keep coming, or are large, it is compiled. What is wrong is
 * looked for in the beginning of a value only.
 */
export function validatorOf<S extends TSchema>(schema: S): Validator<S> {
  let seen = 0;
  let compiled: { Check(value: unknown): boolean } | undefined;
  return {
    Check(value): value is Static<S> {
      if (!compiled && seen++ < READ_FIRST && isWithin(value, READ_PARTS)) return Check(schema, value);
      compiled ??= Compile(schema);
      return compiled.Check(value);
    },
    Errors: (value) => Errors(schema, describable(value))[1] as SchemaProblem[],
  };
}

/**
 * `maxBytes` bounds {@link Checker.parse} before JSON.parse sees anything; `fix` tells the person whose file it is what
 * to do.
 */
export function checker<S extends TSchema>(
  schema: S,
  code: ErrorCode,
  maxBytes: Bytes = 1 << 20,
  fix?: string,
): Checker<Static<S>> {
  const validator = validatorOf(schema);
  const advice = fix === undefined ? {} : { fix };
  const check = (value: unknown, what: string): Static<S> => {
    if (validator.Check(value)) return value as Static<S>;
    const first = [...validator.Errors(value)].at(-1);
    throw new SkeinError(code, `${what}: ${first ? describeProblem(first) : 'is not valid'}`, {
      ...advice,
      data: { path: first?.instancePath ?? '' },
    });
  };
  const parse = (bytes: Uint8Array, what: string): Static<S> => {
    if (bytes.length > maxBytes) {
      throw new SkeinError(code, `${what}: ${bytes.length} bytes, at most ${maxBytes} are accepted`, advice);
    }
    let value: unknown;
    try {
      value = parseJson(decoder.decode(bytes));
    } catch (cause) {
      const why = cause instanceof JsonRefused ? cause.message : 'not UTF-8 JSON';
      throw new SkeinError(code, `${what}: ${why}`, { ...advice, cause });
    }
    return check(value, what);
  };
  return { check, parse };
}
