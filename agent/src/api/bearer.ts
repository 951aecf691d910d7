/** Who may use the local API: everyone on this device, or who knows the token; beyond the device only the latter. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/** @throws SkeinError CONFIG_INVALID */
export function refuseOpenHost(host: string, token: string | undefined): void {
  if (token !== undefined || LOOPBACK.test(host)) return;
  throw new SkeinError('CONFIG_INVALID', `api.host ${host} is no loopback address and there is no token`, {
    fix: 'Set api.tokenFile to a file that holds a token, or keep api.host on 127.0.0.1.',
  });
}

/** Throws SkeinError UNAUTHENTICATED unless the header (HTTP) or metadata (gRPC) has the token. */
export type Authorize = (authorization: string | undefined) => void;

/** Hashes are compared, so neither length nor content shows in the time it takes. @param token absent: nobody is asked */
export function bearerCheck(token: string | undefined): Authorize {
  if (token === undefined) return () => undefined;
  const hash = (text: string) => createHash('sha256').update(text).digest();
  const expected = hash(token);
  return (authorization) => {
    const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(hash(given), expected)) return;
    throw new SkeinError('UNAUTHENTICATED', 'this API asks for a token', {
      fix: 'Send `Authorization: Bearer TOKEN` with what api.tokenFile holds.',
    });
  };
}
