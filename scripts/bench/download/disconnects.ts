/** A download whose connections break a hundred times and whose server then is away: what the link carried for it. */
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB } from '@skein/protocol/units.ts';
import type { Emit } from '../measurement.ts';
import { openDevice, publish } from './device.ts';
import { held, LONG, observed } from './figures.ts';
import { Origin } from './fleet.ts';
import type { Fleet } from './wire.ts';

export async function disconnects(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
  const directory = join(folder, 'blobs');
  const { agreed, bytes } = publish(directory, LONG ? 64 : 16);
  const origin = await Origin.start({ fleet, directory, linkRate: 24 * MIB });
  const device = await openDevice(join(folder, 'cut'), origin.url, fleet);
  const outageMs = LONG ? 180_000 : 10_000;
  try {
    await origin.tell({ type: 'cuts', count: 100, everyBytes: bytes / 130 });
    const updated = device.update(agreed);
    let { connections } = await origin.carried();
    while (connections < 60) {
      await sleep(200);
      ({ connections } = await origin.carried());
    }
    await origin.tell({ type: 'outage', ms: outageMs });
    const from = performance.now();
    const { outcome } = await updated;
    const { bytes: carriedBytes, connections: opened } = await origin.carried();
    emit({
      bench: 'download',
      metric: `ends after ${opened - 1} breaks, outage`,
      value: outcome === 'committed' ? 1 : 0,
      unit: 'committed',
      bar: 1,
      holds: outcome === 'committed',
    });
    emit(held('bytes on the link / bytes of the blobs', carriedBytes / bytes, '×', 1.02));
    emit(observed('done after the outage’s end', (performance.now() - from - outageMs) / 1000, 's'));
  } finally {
    await device.close();
    origin.stop();
  }
}
