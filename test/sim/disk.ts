/**
 * A device's disk as its ports see it, with the parts that a crash takes away: bytes of a `.part` that were not
 * synced come back cut short or torn. What update.db saved is there after any crash (FULL), and so is a blob whose
 * finish() returned; but a disk that lies about its syncs takes of those too what came since the crash before.
 */
import { createHash } from 'node:crypto';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { BlobWriter, Slots, UpdateStore } from '../../agent/src/update/ports.ts';
import {
  type Judged,
  pinnedState,
  type TrustState,
  type TrustStore,
} from '../../agent/src/update/trust-state.ts';
import type { Chance } from './seeded.ts';

const sha256 = (bytes: Uint8Array): Sha256Hex => createHash('sha256').update(bytes).digest('hex');

export class SimDisk {
  readonly rows = new Map<string, string>();
  readonly blobs = new Map<Sha256Hex, Uint8Array>();
  readonly parts = new Map<Sha256Hex, Uint8Array>();
  /** Reports in the device's outbox, oldest first. */
  readonly outbox: unknown[] = [];

  /** Since the crash before: blobs that came, and rows as they were before each save, oldest first. */
  readonly #fresh = new Set<Sha256Hex>();
  #saves: [model: string, before: string | undefined][] = [];

  save(model: string, state: string): void {
    this.#saves.push([model, this.rows.get(model)]);
    if (this.#saves.length > SAVES_MAX) this.#saves.shift();
    this.rows.set(model, state);
  }

  finish(sha: Sha256Hex, bytes: Uint8Array): void {
    this.#fresh.add(sha);
    this.blobs.set(sha, bytes);
  }

  /** What a power cut leaves. @param lied syncs that were reported had not happened */
  crash(chance: Chance, lied = false): void {
    for (const [sha, bytes] of this.parts) this.parts.set(sha, torn(bytes, chance));
    if (lied) this.#lose(chance);
    this.#fresh.clear();
    this.#saves = [];
  }

  #lose(chance: Chance): void {
    for (const sha of this.#fresh) {
      const bytes = this.blobs.get(sha);
      if (!bytes || chance.is(0.3)) continue;
      if (chance.is(0.5)) this.blobs.delete(sha);
      else this.blobs.set(sha, chance.is(0.5) ? torn(bytes, chance) : new Uint8Array(bytes.length));
    }
    for (let left = chance.below(this.#saves.length + 1); left > 0; left--) {
      const [model, before] = this.#saves.pop()!;
      if (before === undefined) this.rows.delete(model);
      else this.rows.set(model, before);
    }
  }
}

const SAVES_MAX = 64;

function torn(bytes: Uint8Array, chance: Chance): Uint8Array {
  const kept = bytes.slice(0, chance.below(bytes.length + 1));
  if (kept.length > 0 && chance.is(0.2)) kept[chance.below(kept.length)]! ^= 0x5a;
  return kept;
}

export function simUpdateStore(disk: SimDisk): UpdateStore {
  return {
    load: (model) => disk.rows.get(model),
    models: () => [...disk.rows.keys()].sort(),
    save: (model, state) => disk.save(model, state),
  };
}

/** One transaction a commit; nobody changes a state that was committed, so it is kept as it is. */
export function simTrustStore(): TrustStore {
  let kept: TrustState | undefined;
  let judged: Judged | undefined;
  const commit = (state: TrustState, said?: Judged) => {
    kept = state;
    judged = said;
  };
  return {
    load: () => kept,
    judged: () => judged,
    commit,
    pin: (image, director) => commit(pinnedState(image, director)),
  };
}

export function simSlots(disk: SimDisk): Slots {
  return {
    has: async (sha) => disk.blobs.has(sha),
    partSize: async (sha) => disk.parts.get(sha)?.length ?? 0,
    pathOf: (sha) => `/sim/${sha}`,
    async reader(sha) {
      const now = () => disk.blobs.get(sha) ?? disk.parts.get(sha);
      if (!now()) return undefined;
      return {
        read: async (offset, length, into) => {
          const found = now()?.subarray(offset, offset + length) ?? new Uint8Array();
          into?.set(found);
          return found;
        },
        close: async () => {},
      };
    },
    list: async () => [...disk.blobs].map(([sha, { length: size }]) => ({ sha256: sha, size })),
    discard: async (sha) => void disk.blobs.delete(sha),
    async read(sha) {
      const bytes = disk.blobs.get(sha);
      if (!bytes) throw new SkeinError('NOT_FOUND', `blob ${sha} is not on this disk`);
      if (sha256(bytes) === sha) return bytes;
      disk.blobs.delete(sha);
      throw new SkeinError('BLOB_MISMATCH', `blob ${sha} is damaged`);
    },
    async writer(sha, size) {
      const part = disk.parts.get(sha) ?? new Uint8Array();
      return new SimWriter(disk, sha, size, part.length > size ? new Uint8Array() : part);
    },
    async prune(keep) {
      for (const sha of disk.blobs.keys()) if (!keep.has(sha)) disk.blobs.delete(sha);
      for (const sha of disk.parts.keys()) if (!keep.has(sha)) disk.parts.delete(sha);
    },
  };
}

class SimWriter implements BlobWriter {
  readonly #disk: SimDisk;
  readonly #sha: Sha256Hex;
  readonly #size: number;
  #bytes: Uint8Array;

  constructor(disk: SimDisk, sha: Sha256Hex, size: number, prefix: Uint8Array) {
    this.#disk = disk;
    this.#sha = sha;
    this.#size = size;
    this.#bytes = prefix;
  }

  get offset(): number {
    return this.#bytes.length;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.offset + chunk.length > this.#size) throw new SkeinError('BLOB_TOO_LARGE', this.#sha);
    const longer = new Uint8Array(this.offset + chunk.length);
    longer.set(this.#bytes);
    longer.set(chunk, this.offset);
    this.#bytes = longer;
    this.#disk.parts.set(this.#sha, this.#bytes);
  }

  async finish(): Promise<void> {
    this.#disk.parts.delete(this.#sha);
    if (this.#bytes.length !== this.#size || sha256(this.#bytes) !== this.#sha) {
      throw new SkeinError('BLOB_MISMATCH', `blob ${this.#sha} is not what was signed`);
    }
    this.#disk.finish(this.#sha, this.#bytes);
  }

  async abandon(): Promise<void> {}
}
