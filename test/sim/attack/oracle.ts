/**
 * The judge of a campaign. It knows what offline keys signed and what the device has seen of that, and asks nothing of
 * the verifier. A model may be put on trial when the newest list that this device has seen names it, for this hardware, at
 * or above every floor that it has seen; by an order that is not over, refreshed lately, out of documents that have not
 * expired. With the server's keys in honest hands the order must be the newest that the server gave to this device.
 * What ran before may run again, but never below a floor that had been reached when that was decided. No version once
 * stored is ever followed by a lower one, unless a new root took back the keys that vouched for it.
 */
import type { UpdateReport } from '@skein/protocol/records.ts';
import { MINUTE, type Millis, SECOND, type Sha256Hex } from '@skein/protocol/units.ts';
import type { TrustState } from '../../../agent/src/update/trust-state.ts';
import { sha256 } from '../../protocol/trust/simulated-repository.ts';
import { type Approved, type Given, HARDWARE, type Honest, type Listing } from './honest.ts';

/** What an attacker holds: the network, or the online keys as well. */
export type Power = 'network' | 'keys';

export interface Loaded {
  model: string;
  /** Of the bytes themselves. */
  manifestSha256: Sha256Hex;
  modelSha256: Sha256Hex;
  /** Absent: a start, or a return to what ran before. */
  order?: string | undefined;
  at: { wall: Millis; mono: Millis };
}

/** The load follows the decision by a moment. */
const LOAD_MS = 2 * SECOND;

interface Floor {
  release: number;
  /** What it was before, and monotonically since when it is more. */
  before: number;
  sinceMono: Millis;
}
const ENDINGS = ['committed', 'unproven', 'refused', 'reverted', 'cancelled'];

export class Oracle {
  readonly #honest: Honest;
  readonly #good = new Map<string, Approved>();
  readonly #everGood = new Set<Sha256Hex>();
  readonly #floors = new Map<string, Floor>();
  /** An order is one model's: each has a machine of its own. */
  readonly #ended = new Set<string>();
  /** Versions stored last, by side, and the root under which. */
  readonly #kept = new Map<string, { root: number; now: readonly number[] }>();
  #listing: Listing = { version: 0, models: [] };
  /** Seen, and not yet part of a whole. */
  readonly #stored: Listing[] = [];
  #saidStored: Given = { version: 0, orders: [] };
  #said: Given = { version: 0, orders: [] };
  #expiries: (readonly [string, Millis])[] = [];
  #refreshedMono = Number.NEGATIVE_INFINITY;
  #timeSeen = Number.NEGATIVE_INFINITY;
  #rootSeen = 0;
  power: Power = 'network';
  /** The root with which the owner took stolen keys back. */
  recoveredBy = 0;
  /** Why refusals were given, for the campaign's figures. */
  readonly codes = new Map<string, number>();
  trials = 0;
  installed = 0;
  broken: string | undefined;

  constructor(honest: Honest) {
    this.#honest = honest;
  }

  /** The release that was proven last. */
  good(model: string): Approved | undefined {
    return this.#good.get(model);
  }

  /** The process has a new monotonic clock: how old its orders are is not known. */
  restarted(kept: TrustState): void {
    this.#adopt(kept, Number.NEGATIVE_INFINITY);
    for (const floor of this.#floors.values()) floor.sinceMono = Number.NEGATIVE_INFINITY;
    this.#refreshedMono = Number.NEGATIVE_INFINITY;
  }

  /** A whole refresh succeeded; what was seen until now counts from here on. */
  refreshed(kept: TrustState, wall: Millis, mono: Millis): void {
    this.#adopt(kept, mono);
    this.#refreshedMono = mono;
    this.#timeSeen = Math.max(this.#timeSeen, wall);
  }

  failed(code: string): void {
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
  }

  /** Also after a refresh that did not finish: a version once stored may not be un-seen. */
  committed({ documents, image, director }: TrustState): void {
    this.#versions('image', image.floors.root, [
      image.floors.timestamp,
      image.floors.snapshot,
      image.floors.meta['targets.json'] ?? 0,
    ]);
    this.#versions('director', director.floors.root, [director.floors.version]);
    const seen = documents.image.targets && this.#honest.listings.get(sha256(documents.image.targets));
    if (seen) this.#stored.push(seen);
    const said = documents.director && this.#honest.given.get(sha256(documents.director));
    if (said && said.version > this.#saidStored.version) this.#saidStored = said;
    // Stolen keys vouched for a time as well; it goes with them.
    const recovered = this.recoveredBy > this.#rootSeen && image.floors.root >= this.recoveredBy;
    if (recovered) this.#timeSeen = Number.NEGATIVE_INFINITY;
    this.#rootSeen = image.floors.root;
  }

  loaded(what: Loaded): void {
    const { model, modelSha256, manifestSha256, order } = what;
    const good = this.#good.get(model);
    if (order !== undefined && this.#ended.has(`${model} ${order}`))
      this.#broken(`${model} by ${order}: that order is over`);
    if (order !== undefined && this.power === 'network') this.#given(`${model} by ${order}`, order);
    if (good?.manifestSha256 === manifestSha256 && good.modelSha256 === modelSha256) return;
    if (order === undefined) {
      this.#back(what);
      return;
    }
    this.trials++;
    const who = `${model} ${modelSha256.slice(0, 8)} by ${order}`;
    const approved = this.#listing.models.find((m) => m.manifestSha256 === manifestSha256);
    if (!approved || approved.custom.model !== model || approved.modelSha256 !== modelSha256) {
      this.#broken(`${who}: the newest list that was seen (${this.#listing.version}) does not approve of it`);
      return;
    }
    const { tags, release } = approved.custom;
    const foreign = tags.filter((tag) => !HARDWARE.includes(tag));
    if (foreign.length > 0) this.#broken(`${who}: it is for ${foreign}`);
    this.#floor(who, model, release, what.at.mono - LOAD_MS);
    const age = what.at.mono - this.#refreshedMono;
    if (age > 10 * MINUTE + LOAD_MS) this.#broken(`${who}: its orders are ${age / 1000} s old`);
    const now = Math.max(what.at.wall - LOAD_MS, this.#timeSeen);
    for (const [role, at] of this.#expiries)
      if (!(at > now)) this.#broken(`${who}: the ${role} it rests on has expired`);
  }

  reported({ order, model, outcome, loaded, reason }: UpdateReport): void {
    if (!ENDINGS.includes(outcome)) return;
    this.#ended.add(`${model} ${order}`);
    if (reason !== null) this.failed(reason);
    if (outcome !== 'committed' && outcome !== 'unproven') return;
    this.installed++;
    const now = this.#all().find((one) => one.modelSha256 === loaded);
    if (!now) {
      this.#broken(`${order} proved ${loaded}, which nobody signed`);
      return;
    }
    this.#good.set(model, now);
    this.#everGood.add(now.modelSha256);
  }

  #back({ model, modelSha256, at }: Loaded): void {
    const before = this.#all().find((one) => one.modelSha256 === modelSha256);
    if (!before || !this.#everGood.has(modelSha256)) {
      this.#broken(`${model}: ${modelSha256} never ran well here`);
      return;
    }
    this.#floor(
      `${model} goes back to ${before.custom.version}`,
      model,
      before.custom.release,
      at.mono - LOAD_MS,
    );
    this.#good.set(model, before);
  }

  #versions(side: 'image' | 'director', root: number, now: readonly number[]): void {
    const before = this.#kept.get(side) ?? { root, now };
    const fallen = now.some((version, i) => version < before.now[i]!);
    if (root < before.root || (fallen && root === before.root))
      this.#broken(`${side}: versions ${before.now} under root ${before.root} are followed by ${now}`);
    this.#kept.set(side, { root, now });
  }

  #floor(who: string, model: string, release: number, decidedMono: Millis): void {
    const known = this.#floors.get(model) ?? { release: 0, before: 0, sinceMono: 0 };
    const floor = known.sinceMono > decidedMono ? known.before : known.release;
    if (release < floor) this.#broken(`${who}: release ${release} is below the signed floor ${floor}`);
  }

  #given(who: string, order: string): void {
    const given = this.#said.orders.some((one) => one.id === order);
    if (!given)
      this.#broken(
        `${who}: the newest word to this device that was seen (${this.#said.version}) does not order it`,
      );
  }

  #adopt({ documents }: TrustState, mono: Millis): void {
    const held = [...Object.entries(documents.image), ['director', documents.director] as const];
    this.#expiries = held.flatMap(([role, bytes]) => (bytes ? [[role, expiryOf(bytes)] as const] : []));
    this.#said = this.#saidStored;
    for (const seen of this.#stored.splice(0)) {
      if (seen.version > this.#listing.version) this.#listing = seen;
      for (const { custom } of seen.models) this.#raise(custom, mono);
    }
  }

  #raise({ model, floor: release }: Approved['custom'], sinceMono: Millis): void {
    const before = this.#floors.get(model)?.release ?? 0;
    if (release > before) this.#floors.set(model, { release, before, sinceMono });
  }

  #all = (): Approved[] => [...this.#honest.listings.values()].flatMap(({ models }) => models);

  #broken(why: string): void {
    this.broken ??= why;
  }
}

/** NaN, which is never late enough, for what can not be read: a device holds that for nothing. */
function expiryOf(bytes: Uint8Array): Millis {
  try {
    return Date.parse(JSON.parse(Buffer.from(bytes).toString()).signed.expires);
  } catch {
    return Number.NaN;
  }
}
