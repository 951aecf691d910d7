/**
 * Maintenance windows: they open when a cron expression says so (node-cron's syntax, in a time zone) and stay open for a
 * duration; windows may overlap. Across a change of daylight saving time the wall clock counts: an hour that comes twice
 * opens twice, one that is left out does not open.
 *
 * A window is looked for minute by minute, over at most its duration back and {@link AHEAD_MS} ahead, and what was found
 * holds until it changes. Time zones are offset by quarters of an hour, so most minutes need no look.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import { DAY, MINUTE, type Millis } from '@skein/protocol/units.ts';
import { createTask, parse, validateDetailed } from 'node-cron';
import type { Windows, WindowsNow } from './gate.ts';

export interface WindowRule {
  cron: string;
  duration: Millis;
  /** IANA name; absent: the system's. */
  zone?: string;
}

const AHEAD_MS: Millis = 8 * DAY;
const QUARTER = 15;

/** Why `rule` is none; undefined: it is one. */
export function windowFault({ cron, zone }: WindowRule): string | undefined {
  const { valid, errors } = validateDetailed(cron);
  if (!valid) return errors.map(({ message }) => message).join('; ') || 'is no cron expression';
  const fields = cron.trim().split(/\s+/);
  if (fields.length === 6 && fields[0] !== '0')
    return 'opens at whole minutes: let the field of seconds be 0';
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return undefined;
  } catch {
    return `there is no time zone ${zone}`;
  }
}

/** undefined: there are none, so it is always open. @throws SkeinError CONFIG_INVALID */
export function cronWindows(rules: readonly WindowRule[]): Windows | undefined {
  const windows = rules.map(openWindow);
  if (windows.length === 0) return undefined;
  let known: (WindowsNow & { from: Millis }) | undefined;
  return {
    at(now) {
      if (!known || now < known.from || now >= known.changesAt)
        known = { from: now, ...union(windows.map((at) => at(now))) };
      return known;
    },
  };
}

/** Open while one is; looked at again when the last that is open closes, or the first that is closed opens. */
function union(all: readonly WindowsNow[]): WindowsNow {
  const open = all.filter((window) => window.open).map(({ changesAt }) => changesAt);
  if (open.length > 0) return { open: true, changesAt: Math.max(...open) };
  return { open: false, changesAt: Math.min(...all.map(({ changesAt }) => changesAt)) };
}

function openWindow(rule: WindowRule): (now: Millis) => WindowsNow {
  const fault = windowFault(rule);
  if (fault !== undefined) throw new SkeinError('CONFIG_INVALID', `window ${rule.cron}: ${fault}`);
  const task = createTask(rule.cron, () => undefined, rule.zone === undefined ? {} : { timezone: rule.zone });
  const minutes = new Set(parse(rule.cron).minute.map((minute) => minute % QUARTER));
  const opens = (at: Millis): boolean =>
    minutes.has(Math.floor(at / MINUTE) % QUARTER) && task.match(new Date(at));
  return (now) => {
    const minute = Math.floor(now / MINUTE) * MINUTE;
    for (let at = minute; at > now - rule.duration; at -= MINUTE)
      if (opens(at)) return { open: true, changesAt: at + rule.duration };
    for (let at = minute + MINUTE; at <= minute + AHEAD_MS; at += MINUTE)
      if (opens(at)) return { open: false, changesAt: at };
    return { open: false, changesAt: minute + AHEAD_MS };
  };
}
