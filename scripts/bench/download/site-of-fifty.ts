/** Fifty devices of one site, each process holding ten: how many copies of a model come over the uplink. */
import { type ChildProcess, fork } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB } from '@skein/protocol/units.ts';
import type { Emit } from '../measurement.ts';
import { publish } from './device.ts';
import { held, LONG, observed } from './figures.ts';
import { Origin } from './fleet.ts';
import type { Fleet, FromSite, SiteStart } from './wire.ts';

const DEVICES = 50;
const PROCESSES = 5;

export async function siteOfFifty(
  emit: Emit,
  folder: string,
  fleet: Fleet,
  how: 'designated' | 'killed',
): Promise<void> {
  const directory = join(folder, `site-${how}`);
  const { model } = publish(join(directory, 'blobs'), LONG ? 8 : 4);
  const origin = await Origin.start({
    fleet,
    directory: join(directory, 'blobs'),
    linkRate: (how === 'killed' ? 4 : 8) * MIB,
  });
  const port = await freePort();
  const peers = [`https://127.0.0.1:${port}`];
  const start = { fleet, url: origin.url, blob: model, devices: DEVICES / PROCESSES };
  const children: ChildProcess[] = [];
  const begin = (settings: SiteStart): Promise<FromSite> => {
    const child = fork(join(import.meta.dirname, 'site.ts'));
    children.push(child);
    child.send(settings);
    return new Promise((done) => child.once('message', done as never));
  };
  const cache = () => begin({ ...start, directory, site: { serve: true, port, peers: [] } });
  try {
    await cache();
    const ready = Array.from({ length: PROCESSES }, (_, i) =>
      begin({ ...start, directory: join(directory, `part-${i}`), site: { serve: false, port, peers } }),
    );
    await Promise.all(ready);
    const asking = children.slice(1);
    const done = asking.map(
      (child) => new Promise<void>((resolve) => child.once('message', () => resolve())),
    );
    const from = performance.now();
    for (const child of asking) child.send('go');
    if (how === 'killed') {
      await sleep(2_000);
      children[0]!.kill('SIGKILL');
      await sleep(3_000);
      await cache();
    }
    await Promise.all(done);
    const { bytes } = await origin.carried();
    const name = how === 'killed' ? ', cache killed' : '';
    emit(held(`copies on the uplink, ${DEVICES} devices${name}`, bytes / model.size, '×', 1.1));
    emit(observed('  all have it after', (performance.now() - from) / 1000, 's'));
  } finally {
    for (const child of children) if (child.connected) child.disconnect();
    origin.stop();
  }
}

const freePort = (): Promise<number> =>
  new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
