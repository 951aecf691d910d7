/**
 * Is another agent connected under this identity? Brokers end the older of two connections with one client id and say
 * nothing, which looks like any broken line. What tells is `status`, retained and by everyone who goes by this name:
 * once the broker has given back our own word, a connection we had not heard of before can only be somebody else's.
 * What was heard earlier may be this device before its last start, whose will may also come late.
 */
import type { StatusMessage } from '@skein/protocol/messages.ts';

/** Connections before ours: the one that was retained, and wills that were on their way. */
const MAX_EARLIER = 8;

export class RivalWatch {
  readonly #boot: string;
  readonly #earlier = new Set<string>();
  #introduced = false;

  constructor(boot: string) {
    this.#boot = boot;
  }

  /** A status under our own name. True when it can only be another agent's. */
  hear({ boot, session }: StatusMessage): boolean {
    if (boot === this.#boot) {
      this.#introduced = true;
      return false;
    }
    if (this.#introduced) return !this.#earlier.has(session);
    if (this.#earlier.size < MAX_EARLIER) this.#earlier.add(session);
    return false;
  }
}
