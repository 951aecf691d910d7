/**
 * Enrolment, not trust-on-first-use: the claim token carries the hash of the CA and of both signed roots.
 *
 * 1. Fetch CA and roots over TLS that is not trusted yet; nothing of it is believed.
 * 2. Refuse unless they hash to what the token says (SERVER_NOT_TRUSTED): before this no secret has left the device.
 * 3. Make the keys here; send `id.secret`, public key and CSR over TLS pinned to that CA.
 * 4. Check that the certificate is for our key and from that CA, and that all of it can be read again.
 * 5. Pin the roots, then save the identity: its presence says that all before it is done.
 */
import type { EnrolAnswer, EnrolRequest, EnrolTrust } from '@skein/protocol/api.ts';
import { fromBase64 } from '@skein/protocol/base64.ts';
import { type ClaimToken, parseClaimToken, trustHash } from '@skein/protocol/enrolment.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { type Identity, type IdentityKeys, type IdentityStore, soundIdentity } from './identity.ts';

/** The device port of a server, before and after its CA is known. */
export interface EnrolServer {
  trust(): Promise<EnrolTrust>;
  enrol(ca: string, request: EnrolRequest): Promise<EnrolAnswer>;
}

export interface EnrolDeps {
  server: EnrolServer;
  keys: IdentityKeys;
  store: IdentityStore;
  /** Remembers the roots that the trust client starts from. */
  pin(roots: { image: Uint8Array; director: Uint8Array }): void;
  clock: Clock;
}

/** @throws SkeinError ALREADY_ENROLLED, TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_USED, SERVER_NOT_TRUSTED, UNREACHABLE */
export async function enrol(deps: EnrolDeps, tokenText: string, name?: string): Promise<Identity> {
  const known = deps.store.load();
  if (known)
    throw new SkeinError('ALREADY_ENROLLED', `this device is ${known.device} of fleet ${known.fleet}`, {
      fix: 'Choose another state directory, or remove its `identity` folder to start as a new device.',
    });
  const token = parseClaimToken(tokenText);
  const trust = vouchedFor(token, await deps.server.trust());
  const { tlsKey, csr } = await deps.keys.newTlsKey();
  const report = deps.keys.newReportKey();
  const answer = await deps.server.enrol(trust.ca, {
    token: `${token.id}.${token.secret}`,
    reportKey: report.publicKey,
    csr,
    ...(name === undefined ? {} : { name }),
  });
  const { certificate, device, fleet, deviceUrl, mqttUrl } = answer;
  deps.keys.checkIssued({ certificate, ca: trust.ca, tlsKey, device });
  const identity = soundIdentity({
    format: 1,
    device,
    fleet,
    deviceUrl,
    mqttUrl,
    reportSeed: report.seed,
    tlsKey,
    certificate,
    ca: trust.ca,
    enrolledAt: deps.clock.now(),
  });
  deps.pin(trust);
  deps.store.save(identity);
  return identity;
}

/**
 * New roots for a device that stays who it is: the way back when a root's threshold was lost or stolen. The token vouches
 * for them as at enrolment and is not used up; all that the old roots taught is forgotten.
 * @throws SkeinError NOT_ENROLLED, TOKEN_INVALID, SERVER_NOT_TRUSTED, UNREACHABLE
 */
export async function pinAnew(
  deps: Pick<EnrolDeps, 'server' | 'store' | 'pin'>,
  tokenText: string,
): Promise<Identity> {
  const known = deps.store.load();
  if (!known) {
    throw new SkeinError('NOT_ENROLLED', 'there is no identity here whose roots could be replaced', {
      fix: 'Enrol without --roots-only.',
    });
  }
  const trust = vouchedFor(parseClaimToken(tokenText), await deps.server.trust());
  if (trust.ca !== known.ca) {
    throw new SkeinError(
      'SERVER_NOT_TRUSTED',
      'the token is of a server with another CA than this device’s',
      {
        fix: 'Remove the `identity` folder and enrol as a new device.',
      },
    );
  }
  deps.pin(trust);
  return known;
}

type Three = [Uint8Array, Uint8Array, Uint8Array];

/** @throws SkeinError SERVER_NOT_TRUSTED unless CA and roots are the ones that the token was made for */
function vouchedFor(token: ClaimToken, offered: EnrolTrust) {
  const [ca, image, director] = [offered.ca, offered.image, offered.director].map(fromBase64) as Three;
  if (trustHash(ca, image, director) !== token.trust)
    throw new SkeinError('SERVER_NOT_TRUSTED', 'this server is not the one the claim token was made for', {
      fix: 'Check the address. If the roots or the CA were changed since, make a new token.',
    });
  return { ca: new TextDecoder().decode(ca), image, director };
}
