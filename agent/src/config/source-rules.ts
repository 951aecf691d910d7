/** What one kind of source needs beyond its schema, in words that say what to write instead. */
import { MIB } from '@skein/protocol/units.ts';
import { frameBytes } from '../sources/frames/raw.ts';
import { parseJsonPath } from '../sources/json-path.ts';
import type { Fault, KindRule } from './fault.ts';
import { MAX_PICTURE, type SourceConfig } from './sources.ts';
import { pairFault, urlFault } from './url.ts';

type Rule = KindRule<SourceConfig>;

const MAX_LEVELS = 128;

/** MQTT 3.1.1, 4.7.1: `#` alone and last, `+` alone in its level. */
const topicFault = ({ topic }: SourceConfig): Fault | undefined => {
  const levels = topic?.split('/') ?? [];
  const wrong = levels.find(
    (level, i) =>
      (level.includes('#') && (level !== '#' || i < levels.length - 1)) ||
      (level.includes('+') && level !== '+') ||
      level.includes('\0'),
  );
  if (wrong === undefined && levels.length <= MAX_LEVELS) return undefined;
  return {
    key: 'topic',
    what: `is no topic filter: “${wrong ?? `more than ${MAX_LEVELS} levels`}”`,
    fix: 'A + stands for one whole level (plant/+/temp), a # for all that follow and comes last (plant/#).',
  };
};

const pathFault = ({ values }: SourceConfig): Fault | undefined => {
  const wrong = Object.entries(values ?? {}).find(([, path]) => !parseJsonPath(path));
  if (!wrong) return undefined;
  return {
    key: 'values',
    what: `${wrong[0]}: “${wrong[1]}” is no path`,
    fix: "Write $ for the whole payload, $.sensor.temp, $.list[0] or $['odd name'].",
  };
};

const needs = (
  given: ReadonlySet<string>,
  keys: readonly string[],
  other: string,
  why: string,
): Fault | undefined => {
  const key = keys.find((each) => given.has(each));
  if (key === undefined || given.has(other)) return undefined;
  return { key, what: `does nothing without \`${other}\``, fix: `Add \`${other}\`, or remove it: ${why}.` };
};

const POLL_KEYS = ['period', 'timeout', 'credentials', 'ca'];

const timeFault: Rule = (_, given) => {
  if (given.has('timeColumn') && given.has('period'))
    return {
      key: 'period',
      what: 'does nothing with `timeColumn`',
      fix: 'Remove it; `speed` scales the time.',
    };
  return needs(given, ['speed'], 'timeColumn', 'without a time column `period` sets the pace');
};

const RAW_KEYS = ['width', 'height', 'pixels'] as const;

const framesFault: Rule = (
  { format, width = 1, height = 1, pixels = 'gray8', maxSize = MAX_PICTURE },
  given,
) => {
  if (format !== 'rawvideo') {
    const key = RAW_KEYS.find((each) => given.has(each));
    if (key === undefined) return undefined;
    return {
      key,
      what: `does nothing for ${format}, which says it itself`,
      fix: 'Remove it, or write `format: rawvideo`.',
    };
  }
  const absent = RAW_KEYS.find((each) => !given.has(each));
  if (absent)
    return {
      what: `rawvideo needs \`${absent}\``,
      fix: `Add \`${absent}\`, or let the command write y4m or mjpeg.`,
    };
  if (given.has('maxSize'))
    return {
      key: 'maxSize',
      what: 'does nothing for rawvideo',
      fix: 'Remove it; `width`, `height` and `pixels` say the size.',
    };
  if (frameBytes({ format: pixels, width, height }) <= maxSize * 4) return undefined;
  return {
    key: 'width',
    what: `a frame would be longer than ${(maxSize * 4) / MIB} MiB`,
    fix: 'Let the command scale it down.',
  };
};

const imagesFault: Rule = ({ loop, watch }) =>
  loop && watch ? { key: 'watch', what: 'does not go with `loop`', fix: 'Keep one of the two.' } : undefined;

const RULES: Partial<Record<SourceConfig['kind'], Rule>> = {
  csv: timeFault,
  jsonl: timeFault,
  mqtt: (source, given) =>
    urlFault(source.url!, ['mqtt', 'mqtts'], given) ?? topicFault(source) ?? pairFault(given),
  frames: framesFault,
  images: imagesFault,
  snapshots: (source, given) => urlFault(source.url!, ['http', 'https'], given),
  http: (source, given) =>
    source.url === undefined
      ? needs(given, POLL_KEYS, 'url', 'without it the agent takes POST /v1/readings/<name>')
      : urlFault(source.url, ['http', 'https'], given),
};

export const sourceFault: Rule = (source, given) =>
  pathFault(source) ?? RULES[source.kind]?.(source, given) ?? stallFault(source, given);

/** A limit below the beat would call every pause a stall. */
function stallFault({ stallAfter, period }: SourceConfig, given: ReadonlySet<string>): Fault | undefined {
  if (stallAfter === undefined || !given.has('period') || stallAfter > period) return undefined;
  return {
    key: 'stallAfter',
    what: 'must be longer than `period`',
    fix: 'Leave it out for three periods, or write a longer one.',
  };
}
