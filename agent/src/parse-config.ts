/**
 * A configuration file's values and the environment → {@link Config}.
 * Every problem names file, line and key (`agent.yaml:12: uplink.batchInterval: must be …`); a misspelt key is an error
 * with the likeliest right one. `SKEIN_AGENT_<KEY>` overrides single values (`uplink.batchInterval` is
 * `SKEIN_AGENT_UPLINK_BATCH_INTERVAL`); the project's short names (`SKEIN_STATE_DIR`, `SKEIN_AGENT_PORT`, …) work too.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { type Config, ConfigSchema, withProfiles } from './config.ts';
import { parseUnit, UNIT_EXAMPLES, type Unit } from './config-units.ts';

export type Path = (string | number)[];
type Json = Record<string, unknown>;
/** What the walk reads of a schema node. */
interface Node {
  type?: string;
  properties?: Record<string, Node>;
  items?: Node;
  enum?: string[];
  default?: unknown;
  unit?: Unit;
  minimum?: number;
  maximum?: number;
  description?: string;
  expected?: string;
}
const ROOT = ConfigSchema as unknown as Node;
const compiled = Compile(ConfigSchema as TSchema);

/** Says where a path stands, `agent.yaml:12` or the variable that set it. */
type Where = (path: Path) => string;

const problem = (where: string, path: Path, what: string, fix?: string): SkeinError =>
  new SkeinError('CONFIG_INVALID', `${where}: ${path.length > 0 ? `${path.join('.')}: ` : ''}${what}`, {
    fix: fix ?? 'Correct the value; `skein-agent config` lists every key with its unit and default.',
    data: { key: path.join('.'), line: Number(/:(\d+)$/.exec(where)?.[1] ?? 0) },
  });

/** A parsed file, see `cli/yaml-file.ts`. */
export interface ConfigFile {
  /** As people know it; shown in errors. */
  name: string;
  values: unknown;
  /** Line of the value at `path`, or of what is nearest around it. */
  lineOf(path: Path): number;
}

/** @throws SkeinError CONFIG_INVALID */
export function parseConfig(file: ConfigFile, env: Readonly<Record<string, string | undefined>>): Config {
  const root = file.values ?? {};
  const variables = overrides(env);
  const where: Where = (path) => variables.get(path.join('.'))?.name ?? `${file.name}:${file.lineOf(path)}`;
  if (!isObject(root)) throw problem(where([]), [], 'must be a map of keys');
  for (const { path, text } of variables.values()) place(root, path, text);
  const filled = fill(ROOT, root, [], where);
  const [first] = [...compiled.Errors(filled)];
  if (first) throw schemaProblem(first.instancePath, first.message, where);
  const config = withProfiles(filled as Parameters<typeof withProfiles>[0]);
  checkSources(config, where);
  return config;
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Applies defaults, converts units and refuses unknown keys, depth first. Types are checked by the schema after. */
function fill(schema: Node, value: unknown, path: Path, where: Where): unknown {
  if (schema.unit) return unitValue(schema.unit, value, path, where);
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

function unitValue(unit: Unit, value: unknown, path: Path, where: Where): number {
  const amount = parseUnit(unit, value);
  if (amount === undefined)
    throw problem(where(path), path, `must be ${UNIT_EXAMPLES[unit]}, not ${JSON.stringify(value)}`);
  return amount;
}

function unknownKey(key: string, known: string[], path: Path, where: Where): SkeinError {
  const near = known
    .map((name) => ({ name, away: distance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.away - b.away)[0];
  const hint = near && near.away <= Math.max(2, key.length / 3) ? `; did you mean ${near.name}?` : '';
  return problem(
    where([...path, key]),
    [...path, key],
    `is not a key${hint}`,
    `Known here: ${known.join(', ')}.`,
  );
}

/** Levenshtein distance; both words are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}

function schemaProblem(pointer: string, message: string, where: Where): SkeinError {
  const path = pointer
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  return problem(where(path), path, expected(nodeAt(path), message));
}

const nodeAt = (path: Path): Node | undefined =>
  path.reduce<Node | undefined>(
    (node, step) => (typeof step === 'number' ? node?.items : node?.properties?.[step]),
    ROOT,
  );

function expected(node: Node | undefined, message: string): string {
  if (node?.enum) return `must be one of ${node.enum.join(', ')}`;
  if (node?.expected) return `must be ${node.expected}`;
  return message;
}

/** What each kind of source needs beyond the schema. */
function checkSources({ sources }: Config, where: Where): void {
  const needs: Record<string, 'path' | 'command'> = {
    csv: 'path',
    gas: 'path',
    jsonl: 'path',
    command: 'command',
  };
  const names = new Set<string>();
  sources.forEach((source, i) => {
    const need = needs[source.kind];
    if (need && !source[need])
      throw problem(
        where(['sources', i]),
        ['sources', i],
        `a source of kind ${source.kind} needs \`${need}\``,
      );
    if (names.has(source.name))
      throw problem(where(['sources', i, 'name']), ['sources', i, 'name'], `${source.name} is used twice`);
    names.add(source.name);
  });
}

export interface ConfigKey {
  key: string;
  /** null: it can only be set in the file. */
  variable: string | null;
  default: unknown;
  values: string;
  description: string;
}

/** Every key, for documentation and for {@link overrides}; those inside lists have no variable. */
export function configKeys(schema: Node = ROOT, path: string[] = [], inList = false): ConfigKey[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, node]) => {
    const whole = [...path, key];
    if (node.properties) return configKeys(node, whole, inList);
    const variable = inList || node.items?.properties ? null : variableOf(whole);
    const values = node.enum?.join(' | ') ?? node.unit ?? node.type ?? '';
    const described = { default: node.default, values, description: node.description ?? '' };
    const below = node.items?.properties ? configKeys(node.items, [...path, `${key}[]`], true) : [];
    return [{ key: whole.join('.'), variable, ...described }, ...below];
  });
}

const variableOf = (path: string[]): string =>
  `SKEIN_AGENT_${path.map((part) => part.replace(/([A-Z])/g, '_$1').toUpperCase()).join('_')}`;

/** Short names that the whole project uses; the long name wins. */
const ALIASES: Record<string, string> = {
  SKEIN_AGENT_PORT: 'SKEIN_AGENT_API_PORT',
  SKEIN_STATE_DIR: 'SKEIN_AGENT_STATE_DIR',
  SKEIN_DEVICE_URL: 'SKEIN_AGENT_SERVER_DEVICE_URL',
  SKEIN_MQTT_URL: 'SKEIN_AGENT_SERVER_MQTT_URL',
};
/** Read elsewhere: where the file is. */
const NOT_KEYS = new Set(['SKEIN_AGENT_CONFIG']);

const isOurs = (name: string): boolean =>
  Object.hasOwn(ALIASES, name) || (name.startsWith('SKEIN_AGENT_') && !NOT_KEYS.has(name));

function overrides(
  env: Readonly<Record<string, string | undefined>>,
): Map<string, { name: string; path: string[]; text: string }> {
  const keys = new Map(
    configKeys().flatMap((entry) => (entry.variable ? [[entry.variable, entry] as const] : [])),
  );
  const found = new Map<string, { name: string; path: string[]; text: string }>();
  const given = Object.entries(env).filter(
    ([name, text]) => text !== undefined && text !== '' && isOurs(name),
  );
  const shortFirst = given.sort(([a], [b]) => Number(!(a in ALIASES)) - Number(!(b in ALIASES)));
  for (const [name, text] of shortFirst) {
    const entry = keys.get(ALIASES[name] ?? name);
    if (!entry) throw unknownKey(name, [...keys.keys(), ...Object.keys(ALIASES)], [], () => 'environment');
    found.set(entry.key, { name, path: entry.key.split('.'), text: text! });
  }
  return found;
}

/** Puts an override's text where its key is, as the type that the schema wants. */
function place(root: Json, path: string[], text: string): void {
  let at = root;
  for (const step of path.slice(0, -1)) {
    if (!isObject(at[step])) at[step] = {};
    at = at[step] as Json;
  }
  const schema = nodeAt(path);
  at[path.at(-1)!] = schema?.unit ? text : typed(schema?.type, text);
}

function typed(type: string | undefined, text: string): unknown {
  if (type === 'integer' || type === 'number')
    return text.trim() !== '' && !Number.isNaN(Number(text)) ? Number(text) : text;
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  if (type === 'array') return text === '' ? [] : text.split(',').map((item) => item.trim());
  return text;
}
