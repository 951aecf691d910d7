/**
 * How the next batch is written: as the configuration says, and in the compact form only to a server that said, signed,
 * that it reads it. What the broker hands over is kept as it is and believed once the keys are known, which may be later.
 * The same words tell that the server began anew.
 */
import type { Zstd } from '@skein/protocol/batch/body.ts';
import type { BatchForm } from '@skein/protocol/batch/sealed.ts';
import { parseReads, READS_DOMAIN, type ReadsMessage } from '@skein/protocol/messages.ts';
import type { Verify } from '@skein/protocol/ports.ts';
import { openEnvelope } from '@skein/protocol/trust/envelope.ts';

export interface FormDeps {
  device: string;
  json: boolean;
  verify: Verify;
  /** Keys that may speak for the server; empty until the director's word is known. */
  ackKeys(): readonly string[];
  zstd: Zstd | undefined;
}

const OLDEST: ReadsMessage = { forms: ['SKB1'] };

export class FormChoice {
  readonly #deps: FormDeps;
  #heard: Uint8Array | undefined;
  #reads: ReadsMessage | undefined;
  #began = false;

  constructor(deps: FormDeps) {
    this.#deps = deps;
  }

  /** The retained message on `reads`, not yet believed. */
  hear(bytes: Uint8Array): void {
    this.#heard = bytes;
  }

  /** True once after each start of the server that was heard of, the first included. */
  serverBegan(): boolean {
    this.#believe();
    const began = this.#began;
    this.#began = false;
    return began;
  }

  /** Does it answer to a batch and its nonce? Never in JSON, which is there to be read by people. */
  takesNonces(): boolean {
    this.#believe();
    return !this.#deps.json && (this.#reads?.forms.includes('SKN1') ?? false);
  }

  form(): BatchForm {
    const { json, zstd } = this.#deps;
    this.#believe();
    if (json) return { encoding: 'json' };
    const { forms, zstd: readsZstd } = this.#reads ?? OLDEST;
    if (!forms.includes('SKB2')) return { encoding: 'columns' };
    return { encoding: 'compact', ...(readsZstd === 1 ? { zstd } : {}) };
  }

  #believe(): void {
    const { ackKeys, device, verify } = this.#deps;
    const keys = ackKeys();
    if (this.#heard === undefined || keys.length === 0) return;
    try {
      const reads = parseReads.parse(openEnvelope(verify, keys, READS_DOMAIN, device, this.#heard), 'reads');
      this.#began ||= reads.start !== undefined && reads.start !== this.#reads?.start;
      this.#reads = reads;
      this.#heard = undefined;
    } catch {
      // Not the server's, or signed by a key that the director is yet to name: it is looked at again.
    }
  }
}
