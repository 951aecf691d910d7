/** Making signed documents: the operator's offline keys, the server's online keys and the tests' simulator. */
import { bytesToHex } from '@noble/hashes/utils.js';
import type { Signer } from '../ports.ts';
import type { Millis } from '../units.ts';
import { canonicalJson } from './canonical-json.ts';
import { dateOf, type TufKey } from './metadata.ts';
import type { TopRole } from './root-chain.ts';
import { keyIdOfKey } from './signatures.ts';

/** What every `signed` part begins with. */
export const SPEC_VERSION = '1.0.34';

export const tufKey = (publicKeyHex: string): TufKey => ({
  keytype: 'ed25519',
  scheme: 'ed25519',
  keyval: { public: publicKeyHex },
});

/** As other TUF tools name keys: the hash of the key object's canonical form. */
export const keyIdOf = (publicKeyHex: string): string => keyIdOfKey(tufKey(publicKeyHex));

export interface RoleHolders {
  /** Hex public keys that may sign for the role. */
  keys: readonly string[];
  threshold: number;
}

/** The `signed` part of a root (clause 4.3). */
export const rootSigned = (
  version: number,
  expiresAt: Millis,
  roles: Readonly<Record<TopRole, RoleHolders>>,
): object => ({
  _type: 'root',
  spec_version: SPEC_VERSION,
  version,
  expires: dateOf(expiresAt),
  consistent_snapshot: true,
  keys: Object.fromEntries(
    Object.values(roles).flatMap(({ keys }) => keys.map((key) => [keyIdOf(key), tufKey(key)])),
  ),
  roles: Object.fromEntries(
    Object.entries(roles).map(([role, { keys, threshold }]) => [
      role,
      { keyids: keys.map(keyIdOf), threshold },
    ]),
  ),
});

/** The document as plain JSON, signed over its canonical form by each signer under its own key id. */
export function signDocument(signed: object, signers: readonly Signer[]): Uint8Array {
  const message = canonicalJson(signed);
  const signatures = signers.map((signer) => ({
    keyid: keyIdOf(bytesToHex(signer.publicKey)),
    sig: bytesToHex(signer.sign(message)),
  }));
  return new TextEncoder().encode(JSON.stringify({ signed, signatures }));
}
