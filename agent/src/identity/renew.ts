/**
 * Keeps the certificate alive: at two thirds of its life a new key and request go to `/v1/renew`, signed by the report
 * key, so it also works after the certificate has expired. Tried again every hour; a refusal is kept for people to see.
 * A clock behind the floor (highest time ever seen) is corrected to it, so a device without a battery-backed clock
 * neither renews at every boot nor signs a time that the server laughs at.
 */
import { renewalBytes } from '@skein/protocol/enrolment.ts';
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Timer } from '@skein/protocol/ports.ts';
import { HOUR, type Millis } from '@skein/protocol/units.ts';
import {
  type Identity,
  type IdentityKeys,
  type IdentityStore,
  renewalDueAt,
  soundIdentity,
} from './identity.ts';

export interface RenewRequestSender {
  renew(request: {
    device: string;
    csr: string;
    at: Millis;
    signature: string;
  }): Promise<{ certificate: string }>;
}

export interface RenewDeps {
  keys: IdentityKeys;
  store: IdentityStore;
  server: RenewRequestSender;
  clock: Clock;
  /** Highest time this device has reason to believe. */
  timeFloor(): Millis;
  renewed(identity: Identity): void;
  failed(error: SkeinError): void;
}

/** One renewal now. @throws SkeinError UNREACHABLE, UNAUTHENTICATED, SERVER_NOT_TRUSTED */
export async function renewNow(deps: RenewDeps, identity: Identity): Promise<Identity> {
  const at = Math.max(deps.clock.now(), deps.timeFloor());
  const { tlsKey, csr } = await deps.keys.newTlsKey();
  const signature = deps.keys.signRenewal(identity.reportSeed, renewalBytes(identity.device, at, csr));
  const { certificate } = await deps.server.renew({ device: identity.device, csr, at, signature });
  deps.keys.checkIssued({ certificate, ca: identity.ca, tlsKey, device: identity.device });
  const next = soundIdentity({ ...identity, tlsKey, certificate });
  deps.store.save(next);
  return next;
}

/** Looks every hour; returns how to stop. */
export function keepRenewed(deps: RenewDeps, identity: Identity): { stop(): void } {
  let current = identity;
  let timer: Timer | undefined;
  let stopped = false;
  const look = async (): Promise<void> => {
    try {
      const now = Math.max(deps.clock.now(), deps.timeFloor());
      if (now >= renewalDueAt(deps.keys.datesOf(current.certificate))) {
        current = await renewNow(deps, current);
        deps.renewed(current);
      }
    } catch (error) {
      deps.failed(asSkeinError(error));
    }
    if (!stopped) timer = deps.clock.after(HOUR, () => void look());
  };
  void look();
  return {
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}
