/**
 * Where the key comes from that opens the data keys of this device. It is asked once at a start, and what it gave is held
 * in memory only. A key that lies beside the data protects nothing: see agent/AT-REST.md.
 */
import { SkeinError } from '@skein/protocol/errors.ts';

export interface KeyPort {
  /** For people: where from, never what. */
  readonly from: string;
  /** 32 bytes. @throws SkeinError DATA_KEY_NEEDED when there is none, or it is none */
  read(): Promise<Uint8Array>;
}

export const keyNeeded = (what: string, fix: string, cause?: unknown): SkeinError =>
  new SkeinError('DATA_KEY_NEEDED', what, { fix, cause });

/** A key is there, and it is another one: nothing is damaged and nothing may be thrown away. */
export const keyWrong = (what: string, fix: string): SkeinError =>
  new SkeinError('DATA_KEY_WRONG', what, { fix });

/** What lies on the disk is encrypted, and no key is configured. */
export const sealedWithoutKey = (what: string): SkeinError =>
  keyNeeded(
    `${what} is encrypted and no key is configured`,
    'Configure `atRest` with the key as before; `atRest.write: plain` then brings everything back into clear.',
  );
