/**
 * What a server may ask of a device at once, inside a signed envelope on `command`. Each expires, and the counter grows
 * per device, so a broker that keeps one can not use it again.
 */
import { type Static, Type } from 'typebox';
import { checker } from './schema.ts';
import { MINUTE, type Millis, SECOND } from './units.ts';

export const COMMAND_DOMAIN = 'skein/command';

/** A device is watched this long after the last word that somebody is there. */
export const WATCH_MS: Millis = MINUTE;
/** While it is watched over a metered link, `state` comes no more often than this. */
export const WATCHED_STATE_MS: Millis = 5 * SECOND;

/** Somebody looks at this device: live `state`, please, for so long. May hold more than this version understands. */
export const WatchCommand = Type.Object({
  kind: Type.Literal('watch'),
  counter: Type.Integer({ minimum: 1 }),
  expires: Type.Number({ description: 'Milliseconds since 1970; not heeded afterwards' }),
  forMs: Type.Integer({ minimum: 1, maximum: 10 * MINUTE }),
});

export type WatchCommand = Static<typeof WatchCommand>;
export const parseWatch = checker(WatchCommand, 'MESSAGE_INVALID', 4096);
