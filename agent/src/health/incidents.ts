/**
 * The incidents that are open: one per (code, source), one id from its first event to its last. Raising an open one with
 * other words is an `update`, at most one a minute; the same words say nothing. At most 256 are open; beyond that new ones
 * are not opened (each code and source pair is configured, so this bounds a bug, not a use).
 */
import type { EventMessage, Incident } from '@skein/protocol/messages.ts';
import type { Clock, Entropy } from '@skein/protocol/ports.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { WARNINGS, type WarningCode } from '@skein/protocol/warnings.ts';

const CONFIRM_WITHIN_MS: Millis = 1_800_000;
const UPDATE_EVERY_MS: Millis = 60_000;
const MAX_OPEN = 256;
const MAX_DETAIL = 500;

export interface Incidents {
  raise(code: WarningCode, about?: { source?: string; detail?: string }): void;
  /** Nothing happens when it is not open. */
  clear(code: WarningCode, source?: string): void;
  open(): Incident[];
}

export interface OpenIncident {
  id: string;
  incident: Incident;
}

/** Where open incidents outlive the process. */
export interface IncidentStore {
  /** @throws never: what cannot be read is none. */
  load(): OpenIncident[];
  /** @throws never */
  save(open: OpenIncident[]): void;
}

interface Entry extends OpenIncident {
  saidMono: Millis;
  /** From before this start, and not raised since. */
  unconfirmed: boolean;
}

export function openIncidents(
  clock: Clock,
  entropy: Entropy,
  store: IncidentStore,
  emit: (event: EventMessage) => void,
): Incidents {
  const entries = new Map<string, Entry>();
  const save = () => store.save([...entries.values()].map(({ id, incident }) => ({ id, incident })));
  const keyOf = (code: WarningCode, source?: string) => `${code}/${source ?? ''}`;
  const newId = () => [...entropy.bytes(8)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

  const begin = (key: string, incident: Incident): void => {
    if (entries.size >= MAX_OPEN) return;
    const entry = { id: newId(), incident, saidMono: clock.mono(), unconfirmed: false };
    entries.set(key, entry);
    save();
    emit({ type: 'new', id: entry.id, before: null, after: incident });
  };
  const revise = (entry: Entry, detail: string | undefined): void => {
    if (detail === entry.incident.detail || clock.mono() - entry.saidMono < UPDATE_EVERY_MS) return;
    const before = entry.incident;
    entry.incident = { ...before, ...(detail === undefined ? {} : { detail }) };
    entry.saidMono = clock.mono();
    save();
    emit({ type: 'update', id: entry.id, before, after: entry.incident });
  };

  const end = (key: string): void => {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    save();
    const after = { ...entry.incident, end_time: clock.now() };
    emit({ type: 'end', id: entry.id, before: entry.incident, after });
  };
  const takeUp = (): void => {
    for (const { id, incident } of store.load().slice(0, MAX_OPEN))
      entries.set(keyOf(incident.code, incident.source), {
        id,
        incident,
        saidMono: clock.mono(),
        unconfirmed: true,
      });
    if (entries.size === 0) return;
    clock.after(CONFIRM_WITHIN_MS, () => {
      for (const [key, entry] of [...entries]) if (entry.unconfirmed) end(key);
    });
  };
  takeUp();

  return {
    raise(code, { source, detail } = {}) {
      const key = keyOf(code, source);
      const said = detail?.slice(0, MAX_DETAIL);
      const known = entries.get(key);
      if (known) {
        known.unconfirmed = false;
        revise(known, said);
      }
      if (!known)
        begin(key, {
          code,
          severity: WARNINGS[code].severity,
          start_time: clock.now(),
          end_time: null,
          ...(source === undefined ? {} : { source }),
          ...(said === undefined ? {} : { detail: said }),
        });
    },
    clear: (code, source) => end(keyOf(code, source)),
    open: () => [...entries.values()].map((entry) => entry.incident),
  };
}
