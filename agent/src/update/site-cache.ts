/**
 * What this agent gives to the other devices of its site: blobs by hash, from its own disk; one that it does not have it
 * fetches over its own uplink, once for all who ask, and they read along while it comes. It never asks other peers for that,
 * so requests do not go in circles. The last byte is held back until the whole was hashed.
 *
 * Bounds: `pullsMax` fetches for others at once, `cacheBytes` kept on the disk for others beside what this device needs
 * itself (the longest unused goes first), and this device's own windows, metered link and rate.
 */
import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Log } from '@skein/protocol/ports.ts';
import { type Bytes, KIB, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { downloadBlobs, type Sources } from './blob-download.ts';
import type { Flight } from './flights.ts';
import { Deferred, type Gate } from './gate.ts';
import type { BlobReader, Slots } from './ports.ts';
import { rest } from './rate-cap.ts';

const CHUNK: Bytes = 64 * KIB;
/** How long a first byte from the uplink is waited for before a peer is told to come back. */
const FIRST_BYTE_MS: Millis = 15_000;
const PULLS_MAX = 2;
const TICK_MS: Millis = 20;
const NOBODY_HAS_IT: readonly ErrorCode[] = ['DOWNLOAD_FAILED', 'BLOB_MISMATCH', 'BLOB_TOO_LARGE'];

export interface SiteCacheParts extends Sources {
  slots: Slots;
  gate: Gate;
  clock: Clock;
  log: Log;
  /** What may lie on the disk for others. */
  cacheBytes: Bytes;
  /** True: this agent stops. */
  stopping(): boolean;
  /** Something is not kept for others any more: prune. */
  fellOff(): void;
}

export interface OpenBlob {
  size: Bytes;
  /** Bytes [start, end), as they come. @throws SkeinError UNREACHABLE when the fetch of it failed */
  read(start: Bytes, end: Bytes): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

export class SiteCache {
  readonly #parts: SiteCacheParts;
  /** Whole blobs by last use, the longest unused first. */
  readonly #shelf = new Map<Sha256Hex, Bytes>();
  readonly #pulls = new Map<Sha256Hex, Pull>();

  private constructor(parts: SiteCacheParts) {
    this.#parts = parts;
  }

  /** @throws SkeinError DISK_FAILED */
  static async open(parts: SiteCacheParts): Promise<SiteCache> {
    const cache = new SiteCache(parts);
    for (const { sha256, size } of await parts.slots.list()) cache.#shelf.set(sha256, size);
    cache.#shorten();
    return cache;
  }

  /** What is not to be pruned although this device does not need it. */
  kept(): Sha256Hex[] {
    return [...this.#shelf.keys(), ...this.#parts.flights.names()];
  }

  /**
   * @param size of the blob, as the asking device's signed manifest says; undefined: only what is on this disk
   * @throws SkeinError NOT_FOUND, OVERLOADED (come back), DOWNLOAD_FAILED (nobody has it)
   */
  async open(sha256: Sha256Hex, size: Bytes | undefined): Promise<OpenBlob> {
    const { flights, slots } = this.#parts;
    if (await slots.has(sha256)) return this.#whole(sha256);
    const flight = await this.#begun(sha256, flights.of(sha256) ? undefined : this.#pull(sha256, size));
    if (await slots.has(sha256)) return this.#whole(sha256);
    if (!flight) throw busy(`the fetch of ${sha256} broke off`);
    if (size !== undefined && flight.size !== size)
      throw new SkeinError('DOWNLOAD_FAILED', `${sha256} has ${flight.size} bytes here, not ${size}`);
    const reader = await slots.reader(sha256);
    if (!reader) throw busy(`${sha256} is not on this disk yet`);
    return this.#along(sha256, flight, reader);
  }

  async #whole(sha256: Sha256Hex): Promise<OpenBlob> {
    const reader = await this.#parts.slots.reader(sha256);
    const size = this.#shelf.get(sha256) ?? (await this.#sizeOf(sha256));
    if (!reader || size === undefined) throw new SkeinError('NOT_FOUND', `there is no blob ${sha256} here`);
    this.#shelve(sha256, size);
    return { size, read: (start, end) => chunks(reader, start, end), close: () => reader.close() };
  }

  async #sizeOf(sha256: Sha256Hex): Promise<Bytes | undefined> {
    return (await this.#parts.slots.list()).find((blob) => blob.sha256 === sha256)?.size;
  }

  #along(sha256: Sha256Hex, flight: Flight, reader: BlobReader): OpenBlob {
    const { slots } = this.#parts;
    async function* read(start: Bytes, end: Bytes) {
      for (let at = start; at < end; ) {
        const last = flight.over ? await slots.has(sha256) : false;
        const ready = Math.min(end, last ? flight.size : Math.min(flight.offset, flight.size - 1));
        if (at < ready) {
          for await (const chunk of chunks(reader, at, ready)) {
            at += chunk.length;
            yield chunk;
          }
        } else if (flight.over) throw new SkeinError('UNREACHABLE', `the fetch of ${sha256} broke off`);
        else await flight.changed();
      }
    }
    return { size: flight.size, read, close: () => reader.close() };
  }

  /** The fetch of a blob, with its first bytes here; undefined: it is whole already. */
  async #begun(sha256: Sha256Hex, pull: Pull | undefined): Promise<Flight | undefined> {
    const { flights, clock } = this.#parts;
    const until = clock.mono() + FIRST_BYTE_MS;
    while (!pull?.over && clock.mono() < until) {
      const flight = flights.of(sha256);
      if (flight && flight.offset > 0) return flight;
      if (!flight && !pull) return undefined;
      await rest(clock, TICK_MS);
    }
    if (pull?.over && !pull.failed) return undefined;
    if (pull?.failed && NOBODY_HAS_IT.includes(pull.failed.code)) throw pull.failed;
    throw busy(pull?.failed?.message ?? `no byte of ${sha256} came yet`);
  }

  /** Fetches a blob for others, once for all who ask. */
  #pull(sha256: Sha256Hex, size: Bytes | undefined): Pull {
    return this.#pulls.get(sha256) ?? this.#begin(sha256, size);
  }

  #begin(sha256: Sha256Hex, size: Bytes | undefined): Pull {
    const { cacheBytes, gate } = this.#parts;
    if (size === undefined || size > cacheBytes)
      throw new SkeinError('NOT_FOUND', `there is no blob ${sha256} here`);
    if (this.#pulls.size >= PULLS_MAX) throw busy(`${PULLS_MAX} blobs are fetched for others already`);
    const hold = gate.hold({}, 'download') ?? (gate.uplink() ? undefined : METERED);
    if (hold) throw busy(hold.detail);
    const pull: Pull = { over: false };
    this.#pulls.set(sha256, pull);
    void this.#fetch(sha256, size)
      .catch((thrown: unknown) => {
        pull.failed = asSkeinError(thrown);
      })
      .finally(() => {
        pull.over = true;
        this.#pulls.delete(sha256);
      });
    return pull;
  }

  async #fetch(sha256: Sha256Hex, size: Bytes): Promise<void> {
    const { gate, log, slots, stopping } = this.#parts;
    const whole = await downloadBlobs(this.#parts, slots, [{ sha256, size }], {
      stale: stopping,
      hold: () => {
        const hold = gate.hold({}, 'download');
        if (hold) throw new Deferred(hold);
      },
      progress: () => {},
    });
    if (!whole) throw busy('this agent stops');
    this.#shelve(sha256, size);
    log.info('fetched a blob for the site', { sha256, size });
  }

  #shelve(sha256: Sha256Hex, size: Bytes): void {
    this.#shelf.delete(sha256);
    this.#shelf.set(sha256, size);
    this.#shorten();
  }

  /** What falls off the shelf goes, unless this device needs it itself. */
  #shorten(): void {
    let total = [...this.#shelf.values()].reduce((sum, size) => sum + size, 0);
    for (const [sha256, size] of this.#shelf) {
      if (total <= this.#parts.cacheBytes) return;
      this.#shelf.delete(sha256);
      total -= size;
      this.#parts.fellOff();
    }
  }
}

interface Pull {
  over: boolean;
  failed?: SkeinError;
}

const METERED = { detail: 'the uplink is metered' };

const busy = (message: string): SkeinError =>
  new SkeinError('OVERLOADED', message, { fix: 'It is asked again, or someone else is.' });

async function* chunks(reader: BlobReader, start: Bytes, end: Bytes): AsyncIterable<Uint8Array> {
  for (let at = start; at < end; ) {
    const chunk = await reader.read(at, Math.min(CHUNK, end - at));
    if (chunk.length === 0) throw new SkeinError('UNREACHABLE', 'the blob ended early on this disk');
    at += chunk.length;
    yield chunk;
  }
}
