/** How well a cap is kept, set on the device and by an order. */
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { KIB, MIB } from '@skein/protocol/units.ts';
import type { Emit } from '../measurement.ts';
import { openDevice, publish } from './device.ts';
import { held, observed } from './figures.ts';
import { Origin } from './fleet.ts';
import type { Fleet } from './wire.ts';

export async function rateCap(emit: Emit, folder: string, fleet: Fleet): Promise<void> {
  for (const [rate, layers, ordered] of [
    [512 * KIB, 1, undefined],
    [64 * MIB, 4, 2 * MIB],
  ] as const) {
    const directory = join(folder, `capped-${rate}`);
    const { agreed, bytes } = publish(
      directory,
      layers,
      '1.0.0',
      ordered ? { transfer: { rate: ordered } } : {},
    );
    const origin = await Origin.start({ fleet, directory });
    const device = await openDevice(join(folder, `cap-${rate}`), origin.url, fleet, { rate: `${rate}B` });
    try {
      const from = performance.now();
      await device.update(agreed);
      const { bytes: carriedBytes, lastMs, firstMs } = await origin.carried();
      // The origin's clock is another process's: only its differences count.
      const tookMs = lastMs - firstMs;
      const cap = ordered ?? rate;
      const seen = bytes / (tookMs / 1000);
      const off = Math.abs(seen / cap - 1) * 100;
      const by = ordered ? 'by the order' : 'by agent.yaml';
      emit(held(`${cap / KIB} KiB/s ${by}: off by`, off, '%', 5));
      emit(observed('  with TLS and headers', (carriedBytes / (tookMs / 1000) / cap - 1) * 100, '%'));
      emit(observed('  whole update', (performance.now() - from) / 1000, 's'));
    } finally {
      await device.close();
      origin.stop();
    }
  }
}
