/**
 * Where accepted records go besides the batch itself, inside ingest's transaction: drift windows and incidents get
 * rows of their own. Both are idempotent by their keys. After the commit the fleet view reads the device again.
 */
import type { Clock } from '@skein/protocol/ports.ts';
import type { DriftRecord, EventRecord } from '@skein/protocol/records.ts';
import type { Stream } from '@skein/protocol/topics.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Transaction } from 'kysely';
import type { Tables } from '../store/schema.ts';

/** As `ingest/port.ts` asks for it. */
export interface FleetSink {
  stream: Stream;
  accept(tx: Transaction<Tables>, device: string, records: unknown[]): Promise<void>;
  committed(device: string): void;
}

export function fleetSinks(touch: (device: string) => void, clock: Clock): FleetSink[] {
  const committed = touch;
  const nothing = async () => {};
  return [
    { stream: 'predictions', accept: nothing, committed },
    { stream: 'health', accept: nothing, committed },
    { stream: 'drift', accept: (...given) => storeWindows(clock.now(), ...given), committed },
    { stream: 'events', accept: storeIncidents, committed },
  ];
}

async function storeWindows(
  receivedAt: Millis,
  tx: Transaction<Tables>,
  device: string,
  records: unknown[],
): Promise<void> {
  for (const record of records as DriftRecord[]) {
    const { boot, model, version, profile, window, ts, verdict } = record;
    await tx
      .insertInto('drift_windows')
      .values({
        device,
        boot,
        model,
        version,
        profile,
        window,
        ts,
        verdict,
        record_json: JSON.stringify(record),
        received_at: receivedAt,
      })
      .onConflict((c) => c.columns(['device', 'boot', 'model', 'window']).doNothing())
      .execute();
  }
}

async function storeIncidents(tx: Transaction<Tables>, device: string, records: unknown[]): Promise<void> {
  for (const record of records as EventRecord[]) {
    if (record.kind !== 'incident') continue;
    const { code, severity, start_time, end_time, source, detail } = record.event.after;
    const changed = { code, severity, start_time, end_time, source: source ?? null, detail: detail ?? null };
    await tx
      .insertInto('incidents')
      .values({ id: record.event.id, device, ...changed })
      .onConflict((c) => c.columns(['device', 'id']).doUpdateSet(changed))
      .execute();
  }
}
