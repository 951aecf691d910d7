/**
 * When a device may download and install: in its maintenance windows, and over a metered link only what its policy lets
 * through. Outside, a download pauses with its part kept, and nothing new is activated; what is on trial goes on, and going
 * back is always allowed. An order may be urgent: then it passes, unless the device was told to ignore that. What `site` keeps
 * off the uplink stays off it, urgent or not.
 */
import type { Order } from '@skein/protocol/orders.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';

export interface WindowsNow {
  open: boolean;
  /** When that changes, as far as is looked ahead; it is looked at again then. */
  changesAt: Millis;
}

/** Maintenance windows; without any, always open. */
export interface Windows {
  at(now: Millis): WindowsNow;
}

/** The link that the device's uplink goes over. */
export interface Link {
  /** Name of the interface while it is a metered one. */
  metered(): string | null;
}

export type MeteredPolicy = 'allow' | 'site' | 'defer';

export const HOLDS = ['WINDOW_CLOSED', 'LINK_METERED', 'CLOCK_UNTRUSTED'] as const;

/** Why something does not go on just now, for people, and when to look again. */
export interface Hold {
  code: (typeof HOLDS)[number];
  detail: string;
  forMs: Millis;
}

export interface Gate {
  /** undefined: go on. */
  hold(order: Pick<Order, 'transfer'>, what: 'download' | 'install'): Hold | undefined;
  /** May blobs come from beyond the local network? */
  uplink(): boolean;
}

export interface GateParts {
  windows: Windows | undefined;
  link: Link;
  metered: MeteredPolicy;
  /** Whether an urgent order passes. */
  urgent: boolean;
  clock: Clock;
  /** Highest time this device has reason to believe. */
  timeFloor(): Millis;
}

const LOOK_MS: Millis = MINUTE;

export const OPEN: Gate = { hold: () => undefined, uplink: () => true };

export function openGate(parts: GateParts): Gate {
  const { link, metered, urgent } = parts;
  return {
    hold(order, what) {
      if (urgent && order.transfer?.urgent) return undefined;
      return windowHold(parts) ?? (what === 'download' && metered === 'defer' ? linkHold(link) : undefined);
    },
    uplink: () => metered !== 'site' || link.metered() === null,
  };
}

function windowHold({ windows, clock, timeFloor }: GateParts): Hold | undefined {
  if (!windows) return undefined;
  const now = clock.now();
  // A clock that is behind what was seen before can not say what hour it is.
  if (now < timeFloor()) {
    const detail = 'the clock is behind, so maintenance windows can not be kept';
    return { code: 'CLOCK_UNTRUSTED', detail, forMs: LOOK_MS };
  }
  const { open, changesAt } = windows.at(now);
  if (open) return undefined;
  const detail = `the next maintenance window opens ${new Date(changesAt).toISOString().slice(0, 16)}Z at the earliest`;
  return { code: 'WINDOW_CLOSED', detail, forMs: Math.max(0, changesAt - now) };
}

function linkHold(link: Link): Hold | undefined {
  const name = link.metered();
  if (name === null) return undefined;
  return {
    code: 'LINK_METERED',
    detail: `${name} is metered, and downloads wait for another link`,
    forMs: LOOK_MS,
  };
}

/** Not an error: the gate is closed. */
export class Deferred extends Error {
  readonly hold: Hold;

  constructor(hold: Hold) {
    super(`${hold.code}: ${hold.detail}`);
    this.hold = hold;
  }
}
