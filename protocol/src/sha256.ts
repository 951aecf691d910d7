/** SHA-256 where no node:crypto may be: pure code and documents, not bulk data. */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { Sha256Hex } from './units.ts';

export const sha256Hex = (bytes: Uint8Array): Sha256Hex => bytesToHex(sha256(bytes));
