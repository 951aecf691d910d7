/**
 * The incidents that are open: one per (code, source), one id from its first event to its last. Raising an open one with
 * other words is an `update`, at most one a minute; the same words say nothing. At most 256 are open; beyond that new ones
 * are not opened (each code and source pair is configured, so this bounds a bug, not a use).
 */
import type { EventMessage, Incident } from '@skein/protocol/messages.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { WARNINGS, type WarningCode } from '@skein/protocol/warnings.ts';

const UPDATE_EVERY_MS: Millis = 60_000;
const MAX_OPEN = 256;
const MAX_DETAIL = 500;

export interface Incidents {
  raise(code: WarningCode, about?: { source?: string; detail?: string }): void;
  /** Nothing happens when it is not open. */
  clear(code: WarningCode, source?: string): void;
  open(): Incident[];
}

interface Entry {
  id: string;
  incident: Incident;
  saidMono: Millis;
}

export function openIncidents(
  clock: Clock,
  entropy: Entropy,
  emit: (event: EventMessage) => void,
): Incidents {
  const entries = new Map<string, Entry>();
  const keyOf = (code: WarningCode, source?: string) => `${code}/${source ?? ''}`;
  const newId = () => [...entropy.bytes(8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

  const begin = (key: string, incident: Incident): void => {
    if (entries.size >= MAX_OPEN) return;
    const entry = { id: newId(), incident, saidMono: clock.mono() };
    entries.set(key, entry);
    emit({ type: 'new', id: entry.id, before: null, after: incident });
  };
  const revise = (entry: Entry, detail: string | undefined): void => {
    if (detail === entry.incident.detail || clock.mono() - entry.saidMono < UPDATE_EVERY_MS) return;
    const before = entry.incident;
    entry.incident = { ...before, ...(detail === undefined ? {} : { detail }) };
    entry.saidMono = clock.mono();
    emit({ type: 'update', id: entry.id, before, after: entry.incident });
  };

  return {
    raise(code, { source, detail } = {}) {
      const key = keyOf(code, source);
      const said = detail?.slice(0, MAX_DETAIL);
      const known = entries.get(key);
      if (known) revise(known, said);
      else
        begin(key, {
          code,
          severity: WARNINGS[code].severity,
          start_time: clock.now(),
          end_time: null,
          ...(source === undefined ? {} : { source }),
          ...(said === undefined ? {} : { detail: said }),
        });
    },
    clear(code, source) {
      const key = keyOf(code, source);
      const entry = entries.get(key);
      if (!entry) return;
      entries.delete(key);
      const after = { ...entry.incident, end_time: clock.now() };
      emit({ type: 'end', id: entry.id, before: entry.incident, after });
    },
    open: () => [...entries.values()].map((entry) => entry.incident),
  };
}
