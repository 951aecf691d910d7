/**
 * What becomes of each table when a device is erased. Every table has to be here, so that one that is added later can
 * not be forgotten: the compiler asks for it, and a test searches the whole database for what is left.
 */
import type { Tables } from '../store/schema.ts';

export type Fate =
  /** Every row whose `device` it is goes; counted as `kind`, by the values of the column `by`. */
  | { fate: 'rows'; kind: string; by?: string }
  /** Rows hold more than this device: code of their own takes it out. */
  | { fate: 'rewritten'; kind: string }
  /** Nothing in it is of a device. */
  | { fate: 'kept'; why: string };

type Of<F extends Fate['fate']> = Extract<Fate, { fate: F }>;
const rows = (kind: string, by?: string): Of<'rows'> => ({ fate: 'rows', kind, ...(by ? { by } : {}) });
const rewritten = (kind: string): Of<'rewritten'> => ({ fate: 'rewritten', kind });
const kept = (why: string): Of<'kept'> => ({ fate: 'kept', why });

/** In the order in which they are emptied: the largest first, what the rest is found by last. */
export const FATES = {
  batches: rows('batches', 'stream'),
  rollups: rows('sums', 'resolution'),
  drift_windows: rows('drift windows'),
  gaps: rows('gaps'),
  incidents: rows('incidents'),
  faults: rows('faults'),
  update_reports: rows('update reports'),
  installed: rows('installed models'),
  orders: rows('orders'),
  director_documents: rows('director documents'),
  presence: rows('presence'),
  streams: rows('stream ledgers'),
  rollouts: rewritten('rollout targets'),
  effects: rewritten('rollout effects'),
  idempotency: rewritten('kept answers'),
  audit_details: rewritten('audit details'),
  pseudonyms: rewritten('pseudonym'),
  devices: rewritten('enrolment'),
  erasures: kept('the id is masked in it while it is erased, and then gone'),
  erased: kept('hashes that keep the identity refused'),
  audit: kept('devices stand in it under pseudonyms'),
  meta: kept('settings of the server'),
  tokens: kept('do not say who enrolled with them'),
  deltas: kept('of models'),
  models: kept('of models'),
  trust_documents: kept('of the whole fleet'),
  api_keys: kept('of people'),
  logins: kept('of people'),
  sessions: kept('of people'),
} as const satisfies Record<keyof Tables, Fate>;

export type Erasable = {
  [T in keyof typeof FATES]: (typeof FATES)[T]['fate'] extends 'rows' ? T : never;
}[keyof typeof FATES];

export const ERASABLE = (Object.keys(FATES) as (keyof Tables)[]).filter(
  (table): table is Erasable => FATES[table].fate === 'rows',
);

/** Rows and bytes of content by kind. */
export type Removed = Record<string, { rows: number; bytes: number }>;

export function add(sum: Removed, parts: readonly { kind: string; rows: number; bytes: number }[]): Removed {
  const next = { ...sum };
  for (const { kind, rows: more, bytes } of parts) {
    if (more === 0) continue;
    const known = next[kind] ?? { rows: 0, bytes: 0 };
    next[kind] = { rows: known.rows + more, bytes: known.bytes + bytes };
  }
  return next;
}

export const asList = (sum: Removed): { kind: string; rows: number; bytes: number }[] =>
  Object.entries(sum).map(([kind, { rows: n, bytes }]) => ({ kind, rows: n, bytes }));

export const rowsOf = (sum: Removed): number => Object.values(sum).reduce((n, one) => n + one.rows, 0);
