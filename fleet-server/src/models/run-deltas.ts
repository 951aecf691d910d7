/**
 * Makes the patches that the fleet needs, one at a time, beside the server's own work. What fails is logged and left for
 * the next round; devices then fetch the whole blob, as they do while a patch is being made.
 */
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import { type Bytes, MIB, type Sha256Hex } from '@skein/protocol/units.ts';
import type { Blobs } from '../blobs/port.ts';
import type { Store } from '../store/sqlite-store.ts';
import { type DeltaPair, missingDeltas, recordDelta } from './deltas.ts';

/** Both blobs are in memory while a patch is made. */
export const MAX_DELTA_INPUT: Bytes = 256 * MIB;

/** A patch and its hash; undefined when it would save too little. */
export type MakeDelta = (
  old: Uint8Array<ArrayBuffer>,
  now: Uint8Array<ArrayBuffer>,
  signal: AbortSignal,
) => Promise<{ patch: Uint8Array; sha256: Sha256Hex } | undefined>;

export interface DeltaRunnerDeps {
  store: Store;
  blobs: Blobs;
  clock: Clock;
  log: Log;
  make: MakeDelta;
}

export class DeltaRunner {
  readonly #deps: DeltaRunnerDeps;
  readonly #stopping = new AbortController();
  #round: Promise<void> | undefined;
  #again = false;

  constructor(deps: DeltaRunnerDeps) {
    this.#deps = deps;
  }

  /** Makes what is missing; while a round runs, another follows it. Resolves when nothing is left to do. Never rejects. */
  wake(): Promise<void> {
    this.#again = true;
    this.#round ??= this.#rounds().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#round;
  }

  async #rounds(): Promise<void> {
    const { store, log } = this.#deps;
    while (this.#again && !this.#stopping.signal.aborted) {
      this.#again = false;
      try {
        for (const pair of await missingDeltas(store)) await this.#one(pair);
      } catch (error) {
        log.error('looking for patches to make', { error: (error as Error).message });
      }
    }
  }

  async #one(pair: DeltaPair): Promise<void> {
    const { log, clock } = this.#deps;
    if (this.#stopping.signal.aborted) return;
    const what = { model: pair.model, from: pair.from.sha256, to: pair.to.sha256 };
    const started = clock.mono();
    try {
      const size = await this.#make(pair);
      const took = clock.mono() - started;
      log.info('made a patch', { ...what, patchBytes: size ?? null, wholeBytes: pair.to.size, tookMs: took });
    } catch (error) {
      if (!this.#stopping.signal.aborted)
        log.warn('no patch could be made', { ...what, error: (error as Error).message });
    }
  }

  /** @returns bytes of the patch, undefined when there is none */
  async #make({ from, to }: DeltaPair): Promise<Bytes | undefined> {
    const { store, blobs, clock, make } = this.#deps;
    const pair = { from: from.sha256, to: to.sha256 };
    const small = Math.max(from.size, to.size) <= MAX_DELTA_INPUT;
    const [old, now] = small ? [await this.#read(from), await this.#read(to)] : [];
    // From here on whoever makes it listens himself.
    this.#stopping.signal.throwIfAborted();
    const made = old && now && (await make(old, now, this.#stopping.signal));
    if (!made) {
      await recordDelta(store, { ...pair, patch: null }, clock.now());
      return undefined;
    }
    const { patch, sha256 } = made;
    await blobs.write(sha256, once(patch), patch.length);
    await recordDelta(store, { ...pair, patch: { sha256, size: patch.length } }, clock.now());
    return patch.length;
  }

  async #read({ sha256, size }: DeltaPair['from']): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(size);
    let at = 0;
    for await (const chunk of this.#deps.blobs.read(sha256)) {
      if (at + chunk.length > size) break;
      bytes.set(chunk, at);
      at += chunk.length;
    }
    if (at === size) return bytes;
    throw new SkeinError('BLOB_MISMATCH', `blob ${sha256} has not the ${size} bytes that are signed`);
  }
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
