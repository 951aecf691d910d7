/**
 * A configuration file's values and the environment → {@link Config}.
 * Every problem names file, line and key (`agent.yaml:12: uplink.batchInterval: must be …`); a misspelt key is an error
 * with the likeliest right one.
 */
import type { SkeinError } from '@skein/protocol/errors.ts';
import type { TSchema } from 'typebox';
import { Check, Errors } from 'typebox/schema';
import { IN_PROCESS } from '../inference/backend.ts';
import { checkAtRest } from './at-rest.ts';
import { checkShadows } from './inference.ts';
import { nodeAt, ROOT, valuesOf } from './keys.ts';
import { checkKinds, type KindedList } from './kinds.ts';
import type { Node, Path } from './node.ts';
import { checkSampling } from './outbox.ts';
import { problem, unknownKey, type Where } from './problem.ts';
import { type Config, ConfigSchema, withProfiles } from './schema.ts';
import { type SinkConfig, sinkFault } from './sinks.ts';
import { sourceFault } from './source-rules.ts';
import type { SourceConfig } from './sources.ts';
import { parseUnit, UNIT_EXAMPLES, type Unit } from './units.ts';
import { type Environment, isObject, type Json, overrides, place } from './variables.ts';

const SOURCES: KindedList<SourceConfig> = {
  list: 'sources',
  what: 'source',
  schema: nodeAt(['sources', 0])!,
  rule: sourceFault,
};

const SINKS: KindedList<SinkConfig> = {
  list: 'sinks',
  what: 'sink',
  schema: nodeAt(['sinks', 0])!,
  rule: sinkFault,
};

/** A parsed file, see `cli/yaml-file.ts`. */
export interface ConfigFile {
  /** As people know it; shown in errors. */
  name: string;
  values: unknown;
  /** Line of the value at `path`, or of what is nearest around it. */
  lineOf(path: Path): number;
}

/** @throws SkeinError CONFIG_INVALID */
export function parseConfig(file: ConfigFile, env: Environment): Config {
  const root = file.values ?? {};
  const variables = overrides(env);
  const where: Where = (path) => variables.get(path.join('.'))?.name ?? `${file.name}:${file.lineOf(path)}`;
  if (!isObject(root)) throw problem(where([]), [], 'must be a map of keys');
  for (const { path, text } of variables.values()) place(root, path, text);
  const filled = fill(ROOT, root, [], where);
  if (!Check(ConfigSchema as TSchema, filled)) {
    const [, [first]] = Errors(ConfigSchema as TSchema, filled);
    throw schemaProblem(first?.instancePath ?? '', first?.message ?? 'is not valid', where);
  }
  const config = withProfiles(filled as Parameters<typeof withProfiles>[0]);
  checkKinds(SOURCES, config.sources, root.sources, where);
  checkShadows(config.shadows, where);
  checkSampling(config.outbox.sampling, where);
  checkAtRest(config.atRest, where);
  checkKinds(SINKS, config.sinks, root.sinks, where);
  const reserved = Object.keys(config.backends).find((name) => IN_PROCESS.includes(name));
  if (reserved)
    throw problem(where(['backends', reserved]), ['backends', reserved], 'is the agent’s own backend');
  return config;
}

/** Applies defaults, converts units and refuses unknown keys, depth first. Types are checked by the schema after. */
function fill(schema: Node, value: unknown, path: Path, where: Where): unknown {
  if (schema.unit) return unitValue(schema.unit, value, path, where);
  const entries = valuesOf(schema);
  if (entries && isObject(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, one]) => {
        checkName(schema, key, [...path, key], where);
        return [key, fill(entries, one, [...path, key], where)];
      }),
    );
  if (schema.properties && isObject(value)) return fillObject(schema, value, path, where);
  if (schema.items && Array.isArray(value))
    return value.map((item, i) => fill(schema.items!, item, [...path, i], where));
  return value;
}

function fillObject({ properties = {} }: Node, value: Json, path: Path, where: Where): Json {
  const unknown = Object.keys(value).find((key) => !Object.hasOwn(properties, key));
  if (unknown !== undefined) throw unknownKey(unknown, Object.keys(properties), path, where);
  const entries = Object.entries(properties).flatMap(([key, schema]) => {
    const given = value[key] ?? schema.default ?? (schema.properties ? {} : undefined);
    return given === undefined ? [] : [[key, fill(schema, given, [...path, key], where)] as const];
  });
  return Object.fromEntries(entries);
}

function checkName(schema: Node, key: string, path: Path, where: Where): void {
  const pattern = Object.keys(schema.patternProperties ?? {})[0] ?? '';
  if (!new RegExp(pattern).test(key)) throw problem(where(path), path, 'must be a name of a-z, 0-9, . _ -');
}

function unitValue(unit: Unit, value: unknown, path: Path, where: Where): number {
  const amount = parseUnit(unit, value);
  if (amount === undefined)
    throw problem(where(path), path, `must be ${UNIT_EXAMPLES[unit]}, not ${JSON.stringify(value)}`);
  return amount;
}

function schemaProblem(pointer: string, message: string, where: Where): SkeinError {
  const path = pointer
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  return problem(where(path), path, expected(nodeAt(path), message));
}

function expected(node: Node | undefined, message: string): string {
  if (node?.enum) return `must be one of ${node.enum.join(', ')}`;
  if (node?.expected) return `must be ${node.expected}`;
  return message;
}
