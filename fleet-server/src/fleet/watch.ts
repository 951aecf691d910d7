/**
 * Somebody looks at a device: one that is paid by the byte is asked for live state, by a signed command that is
 * renewed while they look. Others tell it anyway.
 */
import { COMMAND_DOMAIN, WATCH_MS, type WatchCommand } from '@skein/protocol/commands.ts';
import type { Clock, Log, Signer } from '@skein/protocol/ports.ts';
import { topicFor } from '@skein/protocol/topics.ts';
import { sealEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Broker } from '../broker/port.ts';
import type { FleetView } from './view.ts';

export interface WatchDeps {
  view: Pick<FleetView, 'live'>;
  broker: Broker;
  fleet: string;
  clock: Clock;
  log: Log;
  /** Of acknowledgements and commands; asked at each use. */
  signer(): Signer;
}

/** A lease is renewed when half of it is over, however many ask. */
const RENEW_MS: Millis = WATCH_MS / 2;

export function createWatch({
  view,
  broker,
  fleet,
  clock,
  log,
  signer,
}: WatchDeps): (device: string) => void {
  const asked = new Map<string, { counter: number; mono: Millis }>();
  return (device) => {
    const before = asked.get(device);
    if (view.live(device)?.hello?.profile !== 'metered') return;
    if (before && clock.mono() - before.mono < RENEW_MS) return;
    // Also after a restart, or with a clock that was set back, it grows.
    const counter = Math.max((before?.counter ?? 0) + 1, clock.now());
    asked.set(device, { counter, mono: clock.mono() });
    const command: WatchCommand = {
      kind: 'watch',
      counter,
      expires: clock.now() + WATCH_MS,
      forMs: WATCH_MS,
    };
    const payload = new TextEncoder().encode(JSON.stringify(command));
    broker
      .publish(topicFor(fleet, device, 'command'), sealEnvelope(signer(), COMMAND_DOMAIN, device, payload), {
        qos: 1,
        retain: false,
      })
      .catch((error: Error) => log.warn('asking for live state', { device, error: error.message }));
  };
}
