/**
 * Clause 5.7: a target's bytes against the metadata that a search found. Bytes are counted before they are hashed, so
 * that no mirror can make a client read without end. Every hash that we know must match, and there must be one that we
 * know: SHA-256 and SHA-512.
 */
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { SkeinError } from '../errors.ts';

const ALGORITHMS = { sha256, sha512 } as const;
type Algorithm = keyof typeof ALGORITHMS;

/** Hashes by algorithm, those that we can check. */
const knownHashes = (hashes: Readonly<Record<string, string>>): [Algorithm, string][] =>
  Object.entries(hashes).filter((entry): entry is [Algorithm, string] => Object.hasOwn(ALGORITHMS, entry[0]));

/** What `hashes` say of these bytes (5.5.2, 5.6.2). */
export function hashesMatch(hashes: Readonly<Record<string, string>>, bytes: Uint8Array): boolean {
  const known = knownHashes(hashes);
  return known.length > 0 && known.every(([name, hex]) => bytesToHex(ALGORITHMS[name](bytes)) === hex);
}

export interface TargetBytes {
  length: number;
  hashes: Readonly<Record<string, string>>;
}

/** Takes a target as it comes. */
export class TargetCheck {
  readonly #what: string;
  readonly #length: number;
  readonly #hashes: { hash: ReturnType<(typeof ALGORITHMS)[Algorithm]['create']>; hex: string }[];
  #seen = 0;

  /** @throws SkeinError METADATA_INVALID when it is named by no hash that we know */
  constructor(what: string, { length, hashes }: TargetBytes) {
    this.#what = what;
    this.#length = length;
    this.#hashes = knownHashes(hashes).map(([name, hex]) => ({ hash: ALGORITHMS[name].create(), hex }));
    if (this.#hashes.length > 0) return;
    throw new SkeinError('METADATA_INVALID', `${what}: signed with no hash that is known here`, {
      fix: 'Sign it with sha256 or sha512.',
    });
  }

  /** @throws SkeinError BLOB_TOO_LARGE */
  update(chunk: Uint8Array): void {
    this.#seen += chunk.length;
    if (this.#seen > this.#length) {
      throw new SkeinError('BLOB_TOO_LARGE', `${this.#what}: longer than the ${this.#length} bytes signed`);
    }
    for (const { hash } of this.#hashes) hash.update(chunk);
  }

  /** @throws SkeinError BLOB_MISMATCH */
  finish(): void {
    const same =
      this.#seen === this.#length && this.#hashes.every((h) => bytesToHex(h.hash.digest()) === h.hex);
    if (!same) throw new SkeinError('BLOB_MISMATCH', `${this.#what}: not the bytes that were signed`);
  }
}

/**
 * Clause 5.7.3: the path under a mirror's base; with consistent snapshots the file's name begins with one of its hashes.
 * @throws SkeinError METADATA_INVALID when none is known
 */
export function targetPathOnMirror(path: string, { hashes }: TargetBytes, consistent: boolean): string {
  if (!consistent) return path;
  const [first] = knownHashes(hashes);
  if (!first) throw new SkeinError('METADATA_INVALID', `${path}: signed with no hash that is known here`);
  const cut = path.lastIndexOf('/') + 1;
  return `${path.slice(0, cut)}${first[1]}.${path.slice(cut)}`;
}
