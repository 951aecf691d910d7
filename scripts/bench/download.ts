/**
 * How models come to devices, with the agent's own parts, real processes and real TLS over loopback, through a link that
 * counts every byte it carries: a download that is cut a hundred times and then loses its server for a while, the rate
 * cap, fifty devices of one site, and what a deployment writes to a file system of its own, beside a plain copy.
 * SKEIN_LONG=1: larger models, a longer outage, and the site once more with its cache killed on the way.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { disconnects } from './download/disconnects.ts';
import { LONG } from './download/figures.ts';
import { newFleet } from './download/fleet.ts';
import { rateCap } from './download/rate-cap.ts';
import { siteOfFifty } from './download/site-of-fifty.ts';
import { writes } from './download/writes.ts';
import type { Emit } from './measurement.ts';

export async function run(emit: Emit): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-download-'));
  try {
    const fleet = await newFleet(join(folder, 'ca'));
    await disconnects(emit, folder, fleet);
    await rateCap(emit, folder, fleet);
    await siteOfFifty(emit, folder, fleet, 'designated');
    if (LONG) await siteOfFifty(emit, folder, fleet, 'killed');
    await writes(emit, folder, fleet);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
