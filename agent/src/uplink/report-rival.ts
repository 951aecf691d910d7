/** Another agent under this identity: told to people, and the connection is shared with it rather than fought for. */
import { parseStatus } from '@skein/protocol/messages.ts';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import type { Link } from './link.ts';
import { UNCONTESTED_MS } from './reconnect.ts';
import { RivalWatch } from './rival.ts';

export interface RivalDeps {
  link: Link;
  /** Random per start of the agent. */
  boot: string;
  clock: Clock;
  /** What was noticed; null: no trace of it for longer than it would stay away. */
  told(detail: string | null): void;
}

export function reportRival({ link, boot, clock, told }: RivalDeps): void {
  const watch = new RivalWatch(boot);
  let noticedIn = '';
  let quiet: Timer | undefined;
  const wait = () => {
    quiet?.cancel();
    quiet = clock.after(UNCONTESTED_MS, () => (link.connected ? told(null) : wait()));
  };
  link.onMessage('status', (payload) => {
    if (payload.length === 0) return;
    const status = parseStatus.parse(payload, 'status');
    if (!watch.hear(status) || noticedIn === link.session) return;
    noticedIn = link.session;
    link.contested();
    wait();
    told(`another agent (boot ${status.boot}) has been connected as this device`);
  });
}
