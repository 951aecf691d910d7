/** MQTT behind the agent's uplink. */
import type { Log } from '@skein/protocol/ports.ts';
import type { Uplink, UplinkDeps } from '../agent.ts';
import type { Config } from '../config.ts';
import type { TlsTrust } from '../identity/http-tls.ts';
import type { Identity } from '../identity/identity.ts';
import type { Outbox } from '../outbox/port.ts';

export interface UplinkOptions {
  outbox: Outbox;
  deps: UplinkDeps;
  config: Config;
  identity(): Identity;
  tls(): TlsTrust;
  boot: string;
  log: Log;
}

export function openUplink(_options: UplinkOptions): Uplink {
  throw new Error('unfinished');
}
