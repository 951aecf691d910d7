/** A process of its own: some devices of a site, each with its own disk and connections, or the agent that serves them. */
import { join } from 'node:path';
import { openDownloads } from '@skein/agent/cli/open-downloads.ts';
import { parseConfig } from '@skein/agent/config/parse.ts';
import { systemClock, systemEntropy } from '@skein/agent/system-clock.ts';
import { downloadBlobs } from '@skein/agent/update/blob-download.ts';
import { openDiskSlots } from '@skein/agent/update/disk-slots.ts';
import { OPEN } from '@skein/agent/update/gate.ts';
import { httpFetcher } from '@skein/agent/update/http-fetcher.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { FromSite, SiteStart } from './wire.ts';

const say = (message: FromSite): void => void process.send!(message);
const quiet = { info() {}, warn() {}, error() {} };
const shared = { clock: systemClock, entropy: systemEntropy, log: quiet };

async function open({ fleet, url, directory, site }: SiteStart, name: string) {
  const config = parseConfig(
    { name: 'bench', values: { site: { ...site, host: '127.0.0.1' } }, lineOf: () => 0 },
    {},
  );
  const trust = () => ({ ca: fleet.ca, ...fleet.device });
  const fetcher = httpFetcher(url, trust, systemClock);
  const slots = await openDiskSlots({ directory: join(directory, name) });
  return { slots, downloads: openDownloads(config, { fetcher, slots, gate: OPEN, trust, ...shared }) };
}

/** Comes back until it has the blob, as the update machine does. */
async function bring(start: SiteStart, name: string, begin: Promise<void>): Promise<void> {
  const { slots, downloads } = await open(start, name);
  await begin;
  for (let tries = 0; tries < 100; tries++) {
    try {
      const watch = { stale: () => false, progress: () => {} };
      if (await downloadBlobs(downloads, slots, [start.blob], watch)) return downloads.close();
    } catch (thrown) {
      if (!(thrown instanceof SkeinError)) throw thrown;
      await new Promise((done) => setTimeout(done, 1_000));
    }
  }
  throw new Error('a device did not get the blob');
}

let go = () => {};
const begin = new Promise<void>((done) => {
  go = done;
});
process.on('message', async (start: SiteStart | 'go') => {
  if (start === 'go') return go();
  if (start.site.serve) {
    const { downloads } = await open(start, 'cache');
    await downloads.site!.start(() => {});
    return say({ type: 'serving' });
  }
  const all = Array.from({ length: start.devices }, (_, i) => bring(start, `device-${i}`, begin));
  say({ type: 'ready' });
  await Promise.all(all);
  say({ type: 'done' });
});
process.on('disconnect', () => process.exit());
