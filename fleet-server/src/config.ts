/**
 * The server's configuration: this table is its keys, types, defaults, units and documentation at once. Values come
 * from one YAML file (optional) and from the environment, which wins.
 * Sizes are written `64KiB`, `2GiB`. Unknown keys are refused with the likeliest right one.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { ID_PATTERN } from '@skein/protocol/topics.ts';
import { KIB, MIB } from '@skein/protocol/units.ts';

interface TextSetting {
  kind: 'text';
  default: string;
  pattern?: RegExp;
  expected?: string;
}
interface NumberSetting {
  kind: 'port' | 'size' | 'count';
  default: number;
  minimum?: number;
  maximum?: number;
}
export type Setting = (TextSetting | NumberSetting) & { variable: string; doc: string };

const text = (variable: string, fallback: string, doc: string, rest: Partial<TextSetting> = {}) =>
  ({ kind: 'text', default: fallback, variable, doc, ...rest }) as const;
const port = (variable: string, fallback: number, doc: string) =>
  ({ kind: 'port', default: fallback, minimum: 0, maximum: 65_535, variable, doc }) as const;
const count = (variable: string, fallback: number, doc: string) =>
  ({ kind: 'count', default: fallback, minimum: 1, maximum: 1_000_000, variable, doc }) as const;
const size = (variable: string, fallback: number, doc: string) =>
  ({ kind: 'size', default: fallback, minimum: KIB, maximum: 1024 * 1024 * MIB, variable, doc }) as const;

export const SETTINGS = {
  stateDir: text('SKEIN_STATE_DIR', '.skein/server', 'Database, blobs, certificates and online keys'),
  fleet: text('SKEIN_FLEET', 'home', 'Name of the fleet, a level of every MQTT topic', {
    pattern: new RegExp(ID_PATTERN),
    expected: 'lower-case letters, digits and dashes, at most 63',
  }),
  publicUrl: text(
    'SKEIN_PUBLIC_URL',
    '',
    'Where people and devices reach this server; default http://localhost',
    {
      pattern: /^(https?:\/\/[^\s/]+)?$/,
      expected: 'like https://fleet.example.org, without a path',
    },
  ),
  httpHost: text('SKEIN_HTTP_HOST', '127.0.0.1', 'Where dashboard and API listen'),
  httpPort: port('SKEIN_HTTP_PORT', 8080, 'Dashboard and API'),
  deviceHost: text('SKEIN_DEVICE_HOST', '0.0.0.0', 'Where the two device ports (TLS) listen'),
  devicePort: port('SKEIN_DEVICE_PORT', 8443, 'HTTPS for devices'),
  mqttsPort: port('SKEIN_MQTTS_PORT', 8883, 'MQTT over mTLS for devices'),
  mqttHost: text('SKEIN_MQTT_HOST', '127.0.0.1', 'Where the read-only MQTT of local tools listens'),
  mqttPort: port('SKEIN_MQTT_PORT', 1883, 'Plain, read-only MQTT for local tools'),
  brokerUrl: text('SKEIN_BROKER_URL', '', 'An external MQTT broker; empty: the embedded one', {
    pattern: /^(mqtts?:\/\/\S+)?$/,
    expected: 'like mqtts://broker.example.org:8883',
  }),
  brokerUsername: text('SKEIN_BROKER_USERNAME', '', 'For the external broker'),
  brokerPassword: text('SKEIN_BROKER_PASSWORD', '', 'For the external broker; better set in the environment'),
  brokerCaFile: text('SKEIN_BROKER_CA_FILE', '', 'PEM; CA of the external broker'),
  brokerCertFile: text('SKEIN_BROKER_CERT_FILE', '', 'PEM; this server’s client certificate there'),
  brokerKeyFile: text('SKEIN_BROKER_KEY_FILE', '', 'PEM; its key'),
  maxPacket: size('SKEIN_MAX_PACKET', 2 * MIB, 'Largest MQTT packet; a device that sends more is cut off'),
  deviceBatchRate: count('SKEIN_DEVICE_BATCH_RATE', 100, 'Batches a second that one device may send'),
  deviceByteRate: size(
    'SKEIN_DEVICE_BYTE_RATE',
    4 * MIB,
    'Bytes of batches a second that one device may send',
  ),
  diskReserve: size(
    'SKEIN_DISK_RESERVE',
    128 * MIB,
    'With less free, no batch is taken: the rest of the disk is for control traffic',
  ),
  keepRawDays: count('SKEIN_KEEP_RAW_DAYS', 7, 'Days that predictions and health are kept one by one'),
  keepMinuteDays: count('SKEIN_KEEP_MINUTE_DAYS', 90, 'Days that their sums by minute are kept'),
  keepHourDays: count('SKEIN_KEEP_HOUR_DAYS', 730, 'Days that their sums by hour, drift and events are kept'),
  maxBlob: size('SKEIN_MAX_BLOB', 4096 * MIB, 'Largest model file that can be uploaded'),
} as const satisfies Record<string, Setting>;

export type ConfigKey = keyof typeof SETTINGS;
export type Config = { [K in ConfigKey]: (typeof SETTINGS)[K]['kind'] extends 'text' ? string : number };

/** A parsed file: top-level values, and the line of each key for messages. */
export interface ConfigFile {
  name: string;
  values: Record<string, unknown>;
  lineOf(key: string): number;
}

/** @throws SkeinError CONFIG_INVALID naming file and line (or variable), key and what to write instead. */
export function resolveConfig(
  file: ConfigFile | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Config {
  const keys = Object.keys(SETTINGS) as ConfigKey[];
  for (const key of Object.keys(file?.values ?? {})) {
    if (!Object.hasOwn(SETTINGS, key)) throw unknownKey(key, keys, `${file!.name}:${file!.lineOf(key)}`);
  }
  const entries = keys.map((key) => {
    const setting: Setting = SETTINGS[key];
    const fromEnv = env[setting.variable];
    if (fromEnv !== undefined && fromEnv !== '')
      return [key, readValue(setting, key, fromEnv, setting.variable)];
    const given = file?.values[key];
    if (given === undefined || given === null) return [key, setting.default];
    return [key, readValue(setting, key, given, `${file!.name}:${file!.lineOf(key)}`)];
  });
  return Object.fromEntries(entries) as Config;
}

function readValue(setting: Setting, key: string, given: unknown, where: string): string | number {
  const refuse = (expected: string) =>
    new SkeinError('CONFIG_INVALID', `${where}: ${key} must be ${expected}, not ${JSON.stringify(given)}`, {
      fix: `${setting.doc}. Default: ${setting.default === '' ? 'none' : setting.default}.`,
      data: { key, where },
    });
  if (setting.kind === 'text') {
    if (typeof given !== 'string') throw refuse('text');
    if (setting.pattern && !setting.pattern.test(given)) throw refuse(setting.expected ?? 'of its form');
    return given;
  }
  const amount = setting.kind === 'size' ? readSize(given) : readInteger(given);
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = setting;
  if (amount === undefined || amount < minimum || amount > maximum) {
    throw refuse(EXPECTED[setting.kind](minimum, maximum));
  }
  return amount;
}

const EXPECTED: Record<NumberSetting['kind'], (minimum: number, maximum: number) => string> = {
  size: () => 'a size such as 64KiB, 2MiB or 4GiB',
  port: (_, maximum) => `a port, 0 to ${maximum}`,
  count: (minimum, maximum) => `a whole number, ${minimum} to ${maximum}`,
};

const readInteger = (given: unknown): number | undefined => {
  const text = String(given).trim();
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
};

const FACTORS: Record<string, number> = { B: 1, KiB: KIB, MiB: MIB, GiB: 1024 * MIB };
function readSize(given: unknown): number | undefined {
  const [, amount, unit] = /^(\d{1,9})\s*(B|KiB|MiB|GiB)$/.exec(String(given).trim()) ?? [];
  return amount && unit ? Number(amount) * FACTORS[unit]! : undefined;
}

function unknownKey(key: string, known: readonly string[], where: string): SkeinError {
  const near = known.map((name) => ({ name, away: distance(key, name) })).sort((a, b) => a.away - b.away)[0]!;
  const hint = near.away <= Math.max(2, key.length / 3) ? `; did you mean ${near.name}?` : '';
  return new SkeinError('CONFIG_INVALID', `${where}: ${key} is not a key${hint}`, {
    fix: `Known keys: ${known.join(', ')}.`,
    data: { key, where },
  });
}

/** Levenshtein distance without regard to case; both words are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1]!.toLowerCase() === b[j - 1]!.toLowerCase();
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
