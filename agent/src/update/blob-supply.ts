/**
 * Where a blob's bytes come from: peers of the site, mirrors, and the server at last. No source is believed: whoever
 * writes the bytes down hashes them.
 *
 * A source that breaks off after it gave something is asked again from there; one that gave nothing, or trickles, is
 * left for the next and rests with backoff. One whose bytes hashed wrong is not asked for that blob again. While the site
 * has trouble the uplink waits for `siteWaitMs`, spread by chance, so that a cache that restarts does not send its whole
 * site up at once. A call asks no uplink source twice for nothing, so it ends; whoever called comes back with backoff.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import { type Bytes, HOUR, type Millis, type Sha256Hex } from '@skein/protocol/units.ts';
import { fractionOf, retryDelayMs } from './download-plan.ts';
import type { BlobSource, Fetcher } from './ports.ts';
import { lowerRate, type Rate, RateCap, rest, sliceOf } from './rate-cap.ts';

const PAUSE_MS: Millis = 200;
const NAP_MS: Millis = 1_000;
const LIED_REST_MS: Millis = HOUR;
const REMEMBERED_MAX = 256;

export interface Need {
  sha256: Sha256Hex;
  size: Bytes;
  /** From here on. */
  offset: Bytes;
  /** Lower than the device's own cap, if the order says so. */
  rate?: Rate;
  /** True: nobody wants it any more. */
  stop(): boolean;
}

/** The one port that a download reads from. */
export interface Supply {
  /** In order, to the end; it may end early when `stop` says so. @throws SkeinError UNREACHABLE, DOWNLOAD_FAILED of the last source */
  bytes(need: Need): AsyncIterable<Uint8Array>;
  /** The whole hashed wrong. True: whoever may have lied is left out, and others remain to be asked. */
  doubt(sha256: Sha256Hex): boolean;
}

export interface SupplyParts {
  /** In the order in which they are asked for this blob. */
  sources(sha256: Sha256Hex): readonly BlobSource[];
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** The device's own cap. */
  rate?: Rate;
  /** Shared with other supplies of this device. */
  cap?: RateCap;
  /** How long the uplink waits for a site in trouble. */
  siteWaitMs?: Millis;
}

interface Standing {
  failures: number;
  restUntil: Millis;
}

export class BlobSupply implements Supply {
  readonly #parts: SupplyParts;
  readonly #cap: RateCap;
  readonly #standing = new Map<BlobSource, Standing>();
  /** While the site has trouble: when the uplink may be used. */
  #uplinkAt: Millis = Number.NEGATIVE_INFINITY;
  readonly #gave = new Map<Sha256Hex, Set<BlobSource>>();
  readonly #barred = new Map<Sha256Hex, Set<BlobSource>>();

  constructor(parts: SupplyParts) {
    this.#parts = parts;
    this.#cap = parts.cap ?? new RateCap(parts.clock);
  }

  async *bytes(need: Need): AsyncIterable<Uint8Array> {
    const { sha256, size } = need;
    const { clock, log } = this.#parts;
    const spent = new Set<BlobSource>();
    let last: SkeinError | undefined;
    for (let at = need.offset; at < size && !need.stop(); ) {
      const source = this.#next(sha256, spent);
      if (source === 'later') {
        await rest(clock, NAP_MS);
        continue;
      }
      if (!source) throw last ?? new SkeinError('UNREACHABLE', `${sha256}: no source is left to ask`);
      const from = at;
      try {
        for await (const chunk of this.#capped(source, need, at)) {
          at += chunk.length;
          remember(this.#gave, sha256).add(source);
          if (source.kind === 'site') this.#uplinkAt = Number.NEGATIVE_INFINITY;
          yield chunk;
        }
        last = new SkeinError('UNREACHABLE', `${sha256}: ended after ${at} of ${size} bytes`);
      } catch (thrown) {
        last = asSkeinError(thrown);
      }
      if (at >= size) this.#standing.delete(source);
      else if (at > from && !last.data.slow) await rest(clock, PAUSE_MS * (0.5 + this.#chance()));
      else {
        this.#left(source, spent, last);
        log.info('a source of models is left', { source: source.name, code: last.code, error: last.message });
      }
    }
  }

  doubt(sha256: Sha256Hex): boolean {
    const asked = this.#parts.sources(sha256);
    const gave = this.#gave.get(sha256);
    this.#gave.delete(sha256);
    const barred = remember(this.#barred, sha256);
    const restUntil = this.#parts.clock.mono() + LIED_REST_MS;
    // After a restart nobody remembers who gave the first part: then only the server is asked.
    for (const source of asked.filter((s) => s.kind !== 'server' && (!gave || gave.has(s)))) {
      barred.add(source);
      this.#standing.set(source, { failures: 1, restUntil });
      this.#parts.log.warn('a source gave other bytes than were signed', { source: source.name, sha256 });
    }
    const lied = gave && [...gave].every((s) => s.kind === 'server');
    return !lied && asked.some((source) => !barred.has(source));
  }

  #next(sha256: Sha256Hex, spent: ReadonlySet<BlobSource>): BlobSource | 'later' | undefined {
    const now = this.#parts.clock.mono();
    const barred = this.#barred.get(sha256);
    const able = this.#parts.sources(sha256).filter((source) => !barred?.has(source) && !spent.has(source));
    const ready = able.filter(
      (s) => s.kind === 'server' || (this.#standing.get(s)?.restUntil ?? Number.NEGATIVE_INFINITY) <= now,
    );
    const [first] = ready;
    if (!first || first.kind === 'site') return first;
    return able.some((source) => source.kind === 'site') && now < this.#uplinkAt ? 'later' : first;
  }

  #left(source: BlobSource, spent: Set<BlobSource>, { code }: SkeinError): void {
    // A site that is away may come back; one that does not have it is not waited for.
    if (source.kind !== 'site' || code === 'DOWNLOAD_FAILED') spent.add(source);
    const now = this.#parts.clock.mono();
    if (source.kind === 'site' && this.#uplinkAt === Number.NEGATIVE_INFINITY)
      this.#uplinkAt = now + (this.#parts.siteWaitMs ?? 0) * (0.5 + this.#chance());
    const failures = (this.#standing.get(source)?.failures ?? 0) + 1;
    this.#standing.set(source, { failures, restUntil: now + retryDelayMs(failures, this.#chance()) });
  }

  async *#capped(source: BlobSource, need: Need, offset: Bytes): AsyncIterable<Uint8Array> {
    const { sha256, size, stop } = need;
    const rate = lowerRate(this.#parts.rate, need.rate);
    if (rate === undefined) return yield* source.blob(sha256, offset, size);
    for (let at = offset; at < size; ) {
      const end = Math.min(size, at + sliceOf(rate));
      await this.#cap.take(end - at, rate, stop);
      if (stop()) return;
      const before = at;
      for await (const chunk of source.blob(sha256, at, size, end)) {
        at += chunk.length;
        yield chunk;
      }
      if (at === before) return;
    }
  }

  #chance = (): number => fractionOf(this.#parts.entropy.bytes(4));
}

function remember(map: Map<Sha256Hex, Set<BlobSource>>, sha256: Sha256Hex): Set<BlobSource> {
  const known = map.get(sha256);
  if (known) return known;
  const [oldest] = map.keys();
  if (map.size >= REMEMBERED_MAX && oldest !== undefined) map.delete(oldest);
  const made = new Set<BlobSource>();
  map.set(sha256, made);
  return made;
}

/** The server that a fetcher speaks to, as a source. */
export const serverSource = (fetcher: Pick<Fetcher, 'blob'>): BlobSource => ({
  name: 'server',
  kind: 'server',
  blob: (sha256, offset, size, end) => fetcher.blob(sha256, offset, size, end),
});
