/**
 * When signed documents ask for a person, as data. Offline documents need people with keys, who have to be found: they
 * are announced months before. Online ones last a week and are signed again at half of it, so one that is older means
 * that signing fails.
 */
import { DAY, type Millis } from '../units.ts';
import type { Severity } from '../warnings.ts';
import type { TopRole } from './root-chain.ts';

export type Repo = 'image' | 'director';

/** Snapshot, timestamp and director documents live this long and are signed again when half of it is over. */
export const ONLINE_LIFETIME: Millis = 7 * DAY;
export const ROOT_LIFETIME: Millis = 730 * DAY;
export const TARGETS_LIFETIME: Millis = 365 * DAY;

export const TRUST_WARNINGS = {
  ROOT_EXPIRING: {
    text: 'A root expires; from then on devices install nothing new.',
    fix: 'Have it signed again by its holders: `skein keys renew --role root` (or director-root).',
  },
  TARGETS_EXPIRING: {
    text: 'The list of approved models expires; from then on devices install nothing new.',
    fix: 'Sign it again: `skein keys renew --role targets`; every publication renews it too.',
  },
  ONLINE_STALE: {
    text: 'The server has not signed its online documents again in time.',
    fix: 'Look at the server’s log and disk; it tries every hour.',
  },
  ONLINE_KEY_MISSING: {
    text: 'A root names an online key that this server does not hold, so it can not sign with it.',
    fix: 'Restore the server’s keys folder from its backup, or name a new key: `skein keys rotate --role ROLE`.',
  },
} as const satisfies Record<string, { text: string; fix: string }>;
export type TrustWarningCode = keyof typeof TRUST_WARNINGS;

type Ahead = Readonly<Record<Severity, Millis>>;

/** How long before its end a document is worth a word, and which. */
const AHEAD: Readonly<Record<TopRole, Ahead>> = {
  root: { notice: 180 * DAY, warning: 90 * DAY, critical: 30 * DAY },
  targets: { notice: 90 * DAY, warning: 45 * DAY, critical: 14 * DAY },
  snapshot: { notice: 3.25 * DAY, warning: 3 * DAY, critical: DAY },
  timestamp: { notice: 3.25 * DAY, warning: 3 * DAY, critical: DAY },
};

const CODES: Readonly<Record<TopRole, TrustWarningCode>> = {
  root: 'ROOT_EXPIRING',
  targets: 'TARGETS_EXPIRING',
  snapshot: 'ONLINE_STALE',
  timestamp: 'ONLINE_STALE',
};

export interface ExpiryWarning {
  code: TrustWarningCode;
  severity: Severity;
}

/** undefined: nothing to say yet. What has expired is critical. */
export function judgeExpiry(role: TopRole, expiresAt: Millis, now: Millis): ExpiryWarning | undefined {
  const left = expiresAt - now;
  const severity = (['critical', 'warning', 'notice'] as const).find((level) => left <= AHEAD[role][level]);
  return severity && { code: CODES[role], severity };
}
