/**
 * Where private halves of offline keys live. The port has the shape of PKCS#11, so that a smart card or HSM fits behind
 * it: public objects are found without a login (C_FindObjects), a PIN opens one for use (C_Login), signing happens
 * inside (C_Sign with CKM_EDDSA) and takes its time, and a private half is never handed out. Files with a passphrase
 * are the one implementation here (`cli/file-token.ts`).
 */
import type { OfflineRole } from './roles.ts';

/** A key's public object: CKA_LABEL, CKA_ID and CKA_EC_POINT, CKF_LOGIN_REQUIRED. */
export interface KeyInfo {
  /** Unique within the token; `root-1`, `targets-alice`. */
  name: string;
  role: OfflineRole;
  /** Hex of the 32-byte Ed25519 public key. */
  publicKey: string;
  needsPin: boolean;
}

/** Asks the person at the keyboard, a file or the environment; called once for each key at most. */
export type AskPin = (key: Pick<KeyInfo, 'name'>) => Promise<string | undefined>;

export interface Token {
  /** Where it is, for people. */
  readonly label: string;
  /** By name. @throws SkeinError KEYS_INVALID for an object that is damaged */
  find(): readonly KeyInfo[];
  /** Makes a key that is durable when this resolves. @throws SkeinError CONFLICT when the name is taken */
  generate(role: OfflineRole, name: string, pin: string | undefined): Promise<KeyInfo>;
  /**
   * 64-byte Ed25519 signature over `message`.
   * @throws SkeinError PASSPHRASE_NEEDED, PASSPHRASE_WRONG, KEYS_INVALID
   */
  sign(key: KeyInfo, message: Uint8Array, ask: AskPin): Promise<Uint8Array>;
}
