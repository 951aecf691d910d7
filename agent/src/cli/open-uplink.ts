/** MQTT behind the agent's uplink: the connection, batches on it, and what people see. */

import { parseDesired } from '@skein/protocol/messages.ts';
import type { Log, Timer } from '@skein/protocol/ports.ts';
import type { Uplink, UplinkDeps } from '../agent-parts.ts';
import type { Config } from '../config/schema.ts';
import type { TlsTrust } from '../identity/http-tls.ts';
import type { Identity } from '../identity/identity.ts';
import type { Outbox } from '../outbox/port.ts';
import { nativeVerify, systemClock, systemEntropy } from '../system-clock.ts';
import type { FormChoice } from '../uplink/batch-form.ts';
import { createDrain } from '../uplink/drain.ts';
import { watchWays } from '../uplink/linux-ways.ts';
import { openMqttLink } from '../uplink/mqtt-link.ts';
import { brokerTls } from '../uplink/mqtt-tls.ts';
import { createPresence, statusMessage } from '../uplink/presence.ts';
import { RECONNECT } from '../uplink/reconnect.ts';
import { reportRival } from '../uplink/report-rival.ts';
import { WatchLease } from '../uplink/watch-lease.ts';

export interface UplinkOptions {
  outbox: Outbox;
  deps: UplinkDeps;
  config: Config;
  identity: Identity;
  form: FormChoice;
  /** Asked at each connect. */
  tls(): TlsTrust;
  boot: string;
  agentVersion: string;
  log: Log;
}

const shared = { clock: systemClock, entropy: systemEntropy };

export function openUplink(options: UplinkOptions): Uplink {
  const { boot, agentVersion, config, deps, identity, log, outbox } = options;
  const { device, fleet, mqttUrl } = identity;
  const who = { boot, agentVersion };
  const link = openMqttLink({
    ...shared,
    url: mqttUrl,
    fleet,
    device,
    tls: brokerTls(mqttUrl, options.tls),
    keepaliveMs: config.uplink.keepAlive,
    reconnect: RECONNECT[config.profile],
    unconfirmedBatches: config.profile === 'metered',
    will: (session) => JSON.stringify(statusMessage(false, session, who)),
    log,
  });
  const drain = createDrain({
    ...shared,
    link,
    outbox,
    device,
    ackKeys: deps.ackKeys,
    verify: nativeVerify,
    log,
    batchIntervalMs: config.uplink.batchInterval,
    serverBegan: () => options.form.serverBegan(),
    takesNonces: () => options.form.takesNonces(),
    trouble: deps.trouble,
  });
  const presence = createPresence({ ...who, link, hello: deps.hello, log });
  reportRival({ link, boot, clock: systemClock, told: deps.rival });
  let ways: Timer | undefined;
  link.onConnect(() => deps.ordersMayHaveChanged());
  link.onMessage('reads', (payload) => options.form.hear(payload));
  const lease = new WatchLease({ device, verify: nativeVerify, ackKeys: deps.ackKeys, clock: systemClock });
  link.onMessage('command', (payload) => lease.hear(payload));
  link.onMessage('desired', (payload) => {
    deps.ordersMayHaveChanged(parseDesired.parse(payload, 'desired').directorVersion);
  });
  return {
    get connected() {
      return link.connected;
    },
    get watched() {
      return lease.watched;
    },
    start() {
      link.start();
      drain.start();
      ways = watchWays({ clock: systemClock, changed: (addresses) => link.moved(addresses) });
    },
    async stop() {
      ways?.cancel();
      drain.stop();
      await presence.goodbye();
      await link.stop();
    },
    send: () => drain.send(),
    hello: () => presence.introduce(),
    state: presence.state,
    event: presence.event,
    update: presence.update,
  };
}
