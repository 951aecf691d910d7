import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EventMessage, parseEvent } from '@skein/protocol/messages.ts';
import { describe, expect, it } from 'vitest';
import { diskIncidents } from '../../../agent/src/health/disk-incidents.ts';
import { type IncidentStore, type OpenIncident, openIncidents } from '../../../agent/src/health/incidents.ts';
import { reportHealth } from '../../../agent/src/health/report-health.ts';
import { systemEntropy } from '../../../agent/src/system-clock.ts';
import { manualClock } from '../manual-clock.ts';

const memory = (): IncidentStore => {
  let saved: OpenIncident[] = [];
  return { load: () => structuredClone(saved), save: (open) => (saved = structuredClone(open)) };
};

const book = (store = memory(), clock = manualClock()) => {
  const events: EventMessage[] = [];
  const incidents = openIncidents(clock, systemEntropy, store, (event) =>
    events.push(parseEvent.check(event, 'event')),
  );
  return { clock, events, incidents };
};

describe('incidents', () => {
  it('keep one id from new through update to end', async () => {
    const { clock, events, incidents } = book();
    incidents.raise('SOURCE_STALLED', { source: 'cam', detail: 'silent for 30 s' });
    incidents.raise('SOURCE_STALLED', { source: 'cam', detail: 'silent for 31 s' });
    await clock.advance(60_000);
    incidents.raise('SOURCE_STALLED', { source: 'cam', detail: 'silent for 90 s' });
    incidents.clear('SOURCE_STALLED', 'cam');
    incidents.clear('SOURCE_STALLED', 'cam');
    expect(events.map((e) => [e.type, e.before?.detail ?? null, e.after.detail])).toEqual([
      ['new', null, 'silent for 30 s'],
      ['update', 'silent for 30 s', 'silent for 90 s'],
      ['end', 'silent for 90 s', 'silent for 90 s'],
    ]);
    expect(new Set(events.map((e) => e.id)).size).toBe(1);
    expect(events[2]!.after.end_time).toBe(events[0]!.after.start_time + 60_000);
    expect(incidents.open()).toEqual([]);
  });

  it('of two sources are two, and the same one again later has a new id', () => {
    const { events, incidents } = book();
    incidents.raise('SOURCE_STALLED', { source: 'a' });
    incidents.raise('SOURCE_STALLED', { source: 'b' });
    expect(incidents.open().map((i) => i.source)).toEqual(['a', 'b']);
    incidents.clear('SOURCE_STALLED', 'a');
    incidents.raise('SOURCE_STALLED', { source: 'a' });
    expect(events.filter((e) => e.type === 'new')).toHaveLength(3);
    expect(new Set(events.map((e) => e.id)).size).toBe(3);
  });

  it('outlive the process under their id, and end by themselves when nothing raises them again', async () => {
    const store = memory();
    const before = book(store);
    before.incidents.raise('DRIFT', { source: 'host' });
    before.incidents.raise('SOURCE_STALLED', { source: 'cam' });
    const { clock, events, incidents } = book(store);
    expect(incidents.open()).toHaveLength(2);
    incidents.raise('SOURCE_STALLED', { source: 'cam' });
    expect(events).toEqual([]);
    await clock.advance(1_800_000);
    expect(events.map((e) => [e.type, e.id, e.after.code])).toEqual([['end', before.events[0]!.id, 'DRIFT']]);
    expect(
      book(store)
        .incidents.open()
        .map((i) => i.code),
    ).toEqual(['SOURCE_STALLED']);
  });

  it('are forgotten, with a word in the log, when their file is damaged', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-incidents-'));
    const path = join(folder, 'incidents.json');
    const lines: string[] = [];
    const say = (line: string) => void lines.push(line);
    const store = diskIncidents(path, { info: say, warn: say, error: say });
    expect([store.load(), lines]).toEqual([[], []]);
    book(store).incidents.raise('DISK_LOW', { detail: 'full' });
    expect(store.load()).toEqual([
      expect.objectContaining({ incident: expect.objectContaining({ code: 'DISK_LOW' }) }),
    ]);
    writeFileSync(path, '[{');
    expect(store.load()).toEqual([]);
    expect(lines).toEqual(['open incidents are forgotten']);
    rmSync(folder, { recursive: true });
  });

  it('cut a detail that is too long for the wire', () => {
    const { events, incidents } = book();
    incidents.raise('MODEL_FAILING', { detail: 'x'.repeat(2000) });
    expect(events[0]!.after.detail).toHaveLength(500);
  });
});

describe('the health report', () => {
  it('records at its interval, judges every sample, and stops', async () => {
    const { clock, events, incidents } = book();
    const records: unknown[] = [];
    let free = 0.5;
    const report = reportHealth(
      {
        boot: 'b1',
        sampleMs: 5_000,
        recordMs: 30_000,
        limits: { temperatureC: 85, memoryShare: 0.05, diskShare: 0.05, loadPerCpu: 4 },
      },
      clock,
      { sample: () => ({ disk_free: free }), close: () => {} },
      incidents,
      (record) => records.push(record),
    );
    report.start();
    await clock.advance(61_000);
    free = 0.01;
    await clock.advance(5_000);
    report.stop();
    await clock.advance(100_000);
    expect(records).toHaveLength(3);
    expect(records[1]).toMatchObject({ mono: 30_000, boot: 'b1', metrics: { disk_free: 0.5 } });
    expect(events.map((e) => e.after.code)).toEqual(['DISK_LOW']);
    expect(report.latest()).toEqual({ disk_free: 0.01 });
  });
});
