/** Whether somebody watches: a lease that the server's signed command gives, and renews while they look. */
import { COMMAND_DOMAIN, parseWatch } from '@skein/protocol/commands.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';
import type { Millis } from '@skein/protocol/units.ts';

export interface LeaseDeps {
  device: string;
  verify: Verify;
  /** Keys that may speak for the server. */
  ackKeys(): readonly string[];
  clock: Clock;
}

export class WatchLease {
  readonly #deps: LeaseDeps;
  #counter = 0;
  #until: Millis = Number.NEGATIVE_INFINITY;

  constructor(deps: LeaseDeps) {
    this.#deps = deps;
  }

  /** @throws SkeinError SIGNATURE_INVALID, MESSAGE_INVALID; one that is old or expired is passed over */
  hear(bytes: Uint8Array): void {
    const { ackKeys, clock, device, verify } = this.#deps;
    const payload = openEnvelope(verify, ackKeys(), COMMAND_DOMAIN, device, bytes);
    const { counter, expires, forMs } = parseWatch.parse(payload, 'command');
    if (counter <= this.#counter || clock.now() >= expires) return;
    this.#counter = counter;
    this.#until = clock.mono() + forMs;
  }

  get watched(): boolean {
    return this.#deps.clock.mono() < this.#until;
  }
}
