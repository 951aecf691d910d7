/**
 * What a device costs on the wire in a day: whole IP packets as the kernel counts them, both ways, on the loopback of a
 * network namespace of its own (packets of 1,500 bytes, TCP timestamps). The agent's real outbox, drain, link, presence and
 * trust over mTLS to a real server; records with the content of a recorded, busy machine (`bytes/records.ts`).
 *
 * The day: every batch of it is sent, acknowledged and counted (of a LAN day one hour, times 24). Time is not waited for:
 * TCP does not care. The connection breaks once (session resumed, `status`, `hello`, five subscriptions, what is retained)
 * and signed metadata are refreshed (metered once, LAN with the connection and four times); a ping in each half hour, which
 * is two keep-alives. No incident, no update, no start, whose cost is given by itself.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SkeinError } from '@skein/protocol/errors.ts';
import { HOUR } from '@skein/protocol/units.ts';
import type { Day, Peers } from './bytes/day.ts';
import type { Emit } from './measurement.ts';

const bench = 'bytes';
const KB = 1000;
/** DESIGN: health, drift and protocol of a metered device-day. */
const BAR_KB = 100;
const LAN_REFRESHES = 5;
const CHILD = join(import.meta.dirname, 'bytes', 'day.ts');
const WITHIN_MS = 280_000;

type Profiles = Record<'metered' | 'lan', Day & { peers: Peers }>;

/** A user namespace stands in for root where that is allowed. */
async function measure(): Promise<Profiles> {
  for (const flags of [['-n'], ['-r', '-n']]) {
    try {
      const options = { timeout: WITHIN_MS, maxBuffer: 1 << 24 };
      const { stdout } = await promisify(execFile)('unshare', [...flags, process.execPath, CHILD], options);
      return JSON.parse(stdout.trim().split('\n').at(-1)!) as Profiles;
    } catch (cause) {
      if (/Operation not permitted/.test(String((cause as { stderr?: string }).stderr)) && flags.length === 1)
        continue;
      throw new SkeinError('INTERNAL', `the measurement did not end: ${(cause as Error).message}`, {
        cause,
        fix: 'It needs `unshare`, `ip` and the right to make a network namespace: run it as root.',
      });
    }
  }
  throw new SkeinError('FORBIDDEN', 'no network namespace can be made here', { fix: 'Run it as root.' });
}

export async function run(emit: Emit): Promise<void> {
  const figure = (metric: string, bytes: number): void =>
    emit({ bench, metric, value: bytes / KB, unit: 'KB', bar: null, holds: null });
  const { metered, lan } = await measure();
  const pings = (24 * HOUR) / metered.interval;
  const total = metered.together + metered.reconnect + metered.poll + pings * metered.ping;
  figure('metered: health, 32 metrics a minute', metered.together - metered.drift);
  figure(`metered: drift, ${metered.driftRecords} records`, metered.drift);
  figure('metered: a connection that broke', metered.reconnect);
  figure('metered: signed metadata, once', metered.poll);
  figure(`metered: ${pings} pings`, pings * metered.ping);
  emit({
    ...{ bench, metric: 'metered: a device-day', value: total / KB, unit: 'KB' },
    ...{ bar: `≤ ${BAR_KB}`, holds: total <= BAR_KB * KB },
  });
  figure('metered: a start, apart', metered.connect + metered.refresh);
  figure('predictions at 1 Hz, all kept, apart', metered.predictions);
  figure('health with names of one’s own', metered.strangers);
  figure('watched: a minute of state', 12 * metered.state);
  const protocol = lan.reconnect + LAN_REFRESHES * lan.poll;
  figure('lan: health, 32 metrics each 30 s', lan.together - lan.drift);
  figure('lan: drift, each window', lan.drift);
  figure('lan: connection and metadata', protocol);
  figure('lan: a device-day', lan.together + protocol);
  figure('lan: predictions at 1 Hz, apart', lan.predictions);
  figure('lan: state at 1 Hz', 86_400 * lan.state);
  emitPeer(emit, 'plain JSON', metered.peers.json, metered.health);
  emitPeer(emit, 'Sparkplug B, by exception', metered.peers.sparkplug, metered.health);
}

/** The same health records of a day; ours with acknowledgement after storing, theirs with the broker's. */
function emitPeer(emit: Emit, name: string, bytes: number, ours: number): void {
  emit({ bench, metric: `health as ${name}`, value: bytes / KB, unit: 'KB', bar: null, holds: null });
  emit({
    bench,
    metric: `ours against ${name}`,
    value: ours / bytes,
    unit: '×',
    bar: '≤ 0.1',
    holds: ours <= bytes / 10,
  });
}
