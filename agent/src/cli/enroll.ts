/** `skein-agent enroll`: the real adapters behind the enrolment flow. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { diskIdentity } from '../identity/disk-identity.ts';
import { enrol, pinAnew } from '../identity/enroll.ts';
import { httpEnrolServer } from '../identity/http-enroll.ts';
import type { Identity } from '../identity/identity.ts';
import { x509Identity } from '../identity/x509-identity.ts';
import { systemClock } from '../system-clock.ts';
import { SqliteTrustStore } from '../update/sqlite-trust.ts';

export interface EnrolOptions {
  stateDir: string;
  /** Device address, https. */
  server: string;
  token: string;
  name?: string;
  /** Stay who this device is, and believe the token's roots from now on. */
  rootsOnly?: boolean;
}

/** @throws SkeinError as {@link enrol} */
export async function enrolDevice({
  stateDir,
  server,
  token,
  name,
  rootsOnly,
}: EnrolOptions): Promise<Identity> {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const pin = (roots: { image: Uint8Array; director: Uint8Array }): void => {
    const trust = new SqliteTrustStore(join(stateDir, 'trust.db'));
    trust.pin(roots.image, roots.director);
    trust.close();
  };
  const deps = {
    server: httpEnrolServer(server, systemClock),
    keys: x509Identity,
    store: diskIdentity(stateDir),
    pin,
    clock: systemClock,
  };
  return rootsOnly ? pinAnew(deps, token) : enrol(deps, token, name);
}
