/** The signers that a server holds, by role, and what of them is public. */
import { bytesToHex } from '@noble/hashes/utils.js';
import type { OnlineKeys } from '@skein/protocol/api.ts';
import type { Signer } from '@skein/protocol/ports.ts';

export const ONLINE_ROLES = ['snapshot', 'timestamp', 'director', 'ack'] as const;

export type OnlineSigners = Readonly<Record<(typeof ONLINE_ROLES)[number], Signer>>;

export const publicOnlineKeys = (signers: OnlineSigners): OnlineKeys => ({
  snapshot: bytesToHex(signers.snapshot.publicKey),
  timestamp: bytesToHex(signers.timestamp.publicKey),
  director: bytesToHex(signers.director.publicKey),
  ack: bytesToHex(signers.ack.publicKey),
});
