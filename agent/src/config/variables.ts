/**
 * `SKEIN_AGENT_<KEY>` overrides single values (`uplink.batchInterval` is `SKEIN_AGENT_UPLINK_BATCH_INTERVAL`); the
 * project's short names (`SKEIN_STATE_DIR`, `SKEIN_AGENT_PORT`, …) work too. A misspelt variable is an error.
 */
import { configKeys, nodeAt } from './keys.ts';
import { unknownKey } from './problem.ts';

export type Json = Record<string, unknown>;
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Override {
  /** Of the variable. */
  name: string;
  path: string[];
  text: string;
}

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

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

/** By key. @throws SkeinError CONFIG_INVALID for a variable that is no key */
export function overrides(env: Environment): Map<string, Override> {
  const keys = new Map(
    configKeys().flatMap((entry) => (entry.variable ? [[entry.variable, entry] as const] : [])),
  );
  const found = new Map<string, Override>();
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
export function place(root: Json, path: string[], text: string): void {
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
