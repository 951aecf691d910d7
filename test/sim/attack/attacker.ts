/**
 * Full control of broker, server, mirrors and network: every answer that the device gets may be another one. With the
 * power `keys` the attacker also signs with the online keys of both repositories, and in either case with one of the
 * three offline root keys, which is less than the threshold. Each threat of the issue is one move; a move replaces
 * answers, and several may stand at once.
 */
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Signer } from '@skein/protocol/ports.ts';
import { directorSigned } from '@skein/protocol/trust/director.ts';
import { dateOf, type TargetFile } from '@skein/protocol/trust/metadata.ts';
import { SPEC_VERSION, signDocument } from '@skein/protocol/trust/signing.ts';
import { DAY, type Millis } from '@skein/protocol/units.ts';
import { keysOf, roleOf, sha256 } from '../../protocol/trust/simulated-repository.ts';
import type { Chance } from '../seeded.ts';
import type { VirtualTime } from '../virtual-time.ts';
import {
  type Approved,
  HARDWARE,
  type Honest,
  keyOf,
  NEIGHBOUR,
  type OnlineKeys,
  orderFor,
  type Served,
  saidTo,
  VICTIM,
} from './honest.ts';
import type { Power } from './oracle.ts';
import type { Answer, Upstream } from './victim.ts';

/** Undefined: the answer stays what it would have been. */
export interface Grip {
  document?(path: string): Answer | undefined;
  blob?(sha256: string): Answer | undefined;
}

export interface Hand {
  honest: Honest;
  chance: Chance;
  time: VirtualTime;
  power: Power;
  /** The online keys, or keys of the attacker's own where those were not stolen. */
  keys: OnlineKeys;
  /** Order ids that the device has seen. */
  spent: string[];
  nextVersion(): number;
  /** Whoever has the network has the time that it tells, too. */
  setClock(offMs: Millis): void;
}

const OPENING_BRACE = 0x7b;
const IMAGE = '/v1/image/';
const ORDERS = '/v1/director/targets.json';
const OWN: OnlineKeys = { snapshot: keyOf('evil s'), timestamp: keyOf('evil t'), director: keyOf('evil d') };
const EVIL = Buffer.from('#!/bin/sh, whatever it is');
const bytes = (given: Uint8Array | undefined): Answer => ({ bytes: given });

const fromPast = ({ image, director, orders }: Served, path: string): Answer => {
  if (path === ORDERS) return bytes(orders.get(VICTIM));
  return bytes(
    path.startsWith(IMAGE) ? image[path.slice(IMAGE.length)] : director[path.slice('/v1/director/'.length)],
  );
};
const fileOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1).replace(/^\d+\./, '');
const KINDS = ['timestamp.json', 'snapshot.json', 'targets.json', 'root.json'];

function orders(
  hand: Hand,
  given: Order[],
  more: { device?: string; version?: number; targets?: Record<string, TargetFile> } = {},
): Uint8Array {
  const { honest, keys, time } = hand;
  const { device = VICTIM, version = hand.nextVersion() } = more;
  const paths = given.map((order) => manifestPath(order.model, order.version));
  const listed = paths.flatMap((path) => {
    const file = more.targets?.[path] ?? honest.image.targets[path];
    return file ? [[path, { length: file.length, hashes: file.hashes, custom: file.custom }] as const] : [];
  });
  const said = saidTo(device, 1, given);
  const signed = directorSigned({
    version,
    expiresAt: time.wall + 300 * DAY,
    orders: said,
    targets: Object.fromEntries(listed),
  });
  return signDocument(signed, [keys.director]);
}

const give = (document: Uint8Array): Grip => ({
  document: (path) => (path === ORDERS ? bytes(document) : undefined),
});
const newOrder = (hand: Hand, model: string, version: string): Order =>
  orderFor(`x-${hand.nextVersion()}`, model, version);

const head = (hand: Hand, type: string, version: number) => ({
  _type: type,
  spec_version: SPEC_VERSION,
  version,
  expires: dateOf(hand.time.wall + 300 * DAY),
});

/** A whole image repository in the attacker's words, under whatever signatures he has. */
function forged(
  hand: Hand,
  targets: Record<string, TargetFile>,
  signer: Signer,
  version: number,
  by = hand.keys,
): Record<string, Uint8Array> {
  const list = signDocument({ ...head(hand, 'targets', version), targets }, [signer]);
  const snapshot = signDocument(
    { ...head(hand, 'snapshot', version), meta: { 'targets.json': { version } } },
    [by.snapshot],
  );
  const named = { version, length: snapshot.length, hashes: { sha256: sha256(snapshot) } };
  const timestamp = signDocument({ ...head(hand, 'timestamp', version), meta: { 'snapshot.json': named } }, [
    by.timestamp,
  ]);
  return {
    'timestamp.json': timestamp,
    [`${version}.snapshot.json`]: snapshot,
    [`${version}.targets.json`]: list,
  };
}

const evilModel = (hand: Hand) => {
  const model = hand.chance.pick(['gas', 'host']);
  const version = '66.6.6';
  const custom = { model, version, release: 666, floor: 0, tags: HARDWARE };
  const manifest = evilManifest(hand, model, version);
  const file = { length: manifest.length, hashes: { sha256: sha256(manifest) }, custom };
  return { model, version, manifest, targets: { [manifestPath(model, version)]: file } };
};

/** The manifest of a signed model with its name and file changed, so that everything but the signature fits. */
function evilManifest({ honest }: Hand, model: string, version: string): Uint8Array {
  const [any] = honest.listings.values().next().value!.models;
  const manifest = JSON.parse(Buffer.from(honest.blobs.get(any!.manifestSha256)!).toString());
  const file = { sha256: sha256(EVIL), size: EVIL.length };
  return Buffer.from(
    JSON.stringify({ ...manifest, name: model, version, variants: [{ ...manifest.variants[0], file }] }),
  );
}

const evilBlobs = (manifest: Uint8Array) => (wanted: string) =>
  [manifest, EVIL].filter((blob) => sha256(blob) === wanted).map(bytes)[0];

/** Signed by one of three root keys and by the attacker's own, it names his keys for everything. */
function evilRoot(hand: Hand, side: 'image' | 'director'): { file: string; root: Uint8Array } {
  const { signers, versions } = hand.honest[side];
  const version = versions.root + 1;
  const own = {
    root: [signers.root[0]!, keyOf('evil r')],
    snapshot: [OWN.snapshot],
    timestamp: [OWN.timestamp],
    targets: [OWN.director],
  };
  const signed = {
    ...head(hand, 'root', version),
    consistent_snapshot: true,
    keys: keysOf(Object.values(own).flat()),
    roles: Object.fromEntries(Object.entries(own).map(([role, keys]) => [role, roleOf(keys)])),
  };
  return { file: `${version}.root.json`, root: signDocument(signed, own.root) };
}

/** Mostly what the device would take, so that a swap or a replay gets as far as it can. */
const anyLawful = (hand: Hand) => {
  const { models } = hand.honest;
  const able = models.filter(
    ({ custom }) =>
      custom.tags.every((tag) => HARDWARE.includes(tag)) &&
      custom.release >= hand.honest.floorOf(custom.model),
  );
  return able.length > 0 && hand.chance.is(0.8) ? hand.chance.pick(able) : anyone(hand);
};
const anyone = (hand: Hand) =>
  hand.chance.pick([...hand.honest.listings.values()].flatMap(({ models }) => models));

const lists = (models: readonly Approved[], one: Approved): boolean =>
  models.some(({ manifestSha256 }) => manifestSha256 === one.manifestSha256);

export const MOVES = {
  rollback(hand) {
    const withdrawn = [...hand.honest.listings.values()]
      .flatMap(({ models }) => models)
      .filter((one) => !lists(hand.honest.models, one));
    const wanted = withdrawn.length > 0 ? hand.chance.pick(withdrawn) : anyone(hand);
    const listing = hand.honest.history.findLast(({ models }) => lists(models, wanted))!;
    const past = hand.chance.is(0.5) ? listing : hand.chance.pick(hand.honest.history);
    const kind = hand.chance.pick([undefined, undefined, undefined, ...KINDS]);
    const old = (path: string) => {
      if (kind === undefined) return fromPast(past, path);
      if (fileOf(path) !== kind) return undefined;
      const files = Object.entries({ ...past.image }).filter(([name]) => fileOf(`/${name}`) === kind);
      return path === ORDERS
        ? bytes(past.orders.get(VICTIM))
        : bytes(files.length > 0 ? hand.chance.pick(files)[1] : undefined);
    };
    if (hand.power === 'network') return { document: old };
    // What has been withdrawn since is what an attacker would go back for.
    const { custom } = wanted;
    const path = manifestPath(custom.model, custom.version);
    const targets = Object.assign({}, ...hand.honest.history.map(({ image }) => targetsIn(image)));
    const document = orders(hand, [newOrder(hand, custom.model, custom.version)], {
      targets: { [path]: targets[path] },
    });
    return { document: (asked) => (asked === ORDERS ? bytes(document) : old(asked)) };
  },
  freeze({ honest }) {
    const past = honest.history.at(-1)!;
    return { document: (path) => fromPast(past, path) };
  },
  mixAndMatch({ honest, chance }) {
    const from = new Map<string, Served>();
    return {
      document(path) {
        const past = from.get(path) ?? chance.pick(honest.history);
        from.set(path, past);
        const kind = fileOf(path);
        const same = Object.entries(past.image).filter(([name]) => fileOf(`/${name}`) === kind);
        return chance.is(0.5) && path !== ORDERS && same.length > 0
          ? bytes(chance.pick(same)[1])
          : fromPast(past, path);
      },
    };
  },
  endlessData: ({ chance }) => flowing(chance, 'endless'),
  slowRetrieval: ({ chance }) => flowing(chance, 'trickle'),
  cutOff: ({ chance }) => flowing(chance, 'cut'),
  arbitrarySoftware(hand) {
    const { model, version, manifest, targets } = evilModel(hand);
    const document = give(orders(hand, [newOrder(hand, model, version)], { targets })).document!;
    const blob = evilBlobs(manifest);
    if (hand.chance.is(0.4)) return { document, blob };
    const files = forged(hand, targets, hand.keys.snapshot, hand.nextVersion());
    return {
      blob,
      document: (path) =>
        path.startsWith(IMAGE) && files[path.slice(IMAGE.length)]
          ? bytes(files[path.slice(IMAGE.length)])
          : document(path),
    };
  },
  stolenRootKey(hand) {
    const { model, version, manifest, targets } = evilModel(hand);
    const mine = { ...hand, keys: OWN };
    const image = evilRoot(hand, 'image');
    const director = evilRoot(hand, 'director');
    const files = {
      [image.file]: image.root,
      ...forged(mine, targets, OWN.director, hand.nextVersion(), OWN),
    };
    const document = orders(mine, [newOrder(hand, model, version)], { targets });
    return {
      blob: evilBlobs(manifest),
      document(path) {
        if (path === ORDERS) return bytes(document);
        if (path === `/v1/director/${director.file}`) return bytes(director.root);
        const file = path.slice(IMAGE.length);
        return Object.hasOwn(files, file) ? bytes(files[file]) : undefined;
      },
    };
  },
  anotherDevicesOrder(hand) {
    if (hand.power === 'network' || hand.chance.is(0.5))
      return give(hand.honest.history.at(-1)!.orders.get(NEIGHBOUR)!);
    const { custom } = anyLawful(hand);
    return give(orders(hand, [newOrder(hand, custom.model, custom.version)], { device: NEIGHBOUR }));
  },
  replayedCommand(hand) {
    const { honest, chance, spent } = hand;
    if (hand.power === 'network' || spent.length === 0)
      return give(chance.pick(honest.history).orders.get(VICTIM)!);
    const { custom } = anyLawful(hand);
    return give(orders(hand, [orderFor(chance.pick(spent), custom.model, custom.version)]));
  },
  fastForward(hand) {
    if (hand.chance.is(0.4)) hand.setClock(200 * DAY);
    const version = hand.chance.pick([2 ** 31, 2 ** 52]) + hand.nextVersion();
    const { custom } = anyone(hand);
    const document = orders(hand, [newOrder(hand, custom.model, custom.version)], { version });
    const current = hand.honest.image.versions.targets;
    const meta = { 'targets.json': { version: hand.chance.is(0.5) ? current : version } };
    const snapshot = signDocument({ ...head(hand, 'snapshot', version), meta }, [hand.keys.snapshot]);
    const timestamp = signDocument(
      { ...head(hand, 'timestamp', version), meta: { 'snapshot.json': { version } } },
      [hand.keys.timestamp],
    );
    const files: Record<string, Uint8Array> = {
      'timestamp.json': timestamp,
      [`${version}.snapshot.json`]: snapshot,
    };
    return {
      document(path) {
        if (path === ORDERS) return bytes(document);
        const file = path.slice(IMAGE.length);
        return path.startsWith(IMAGE) && Object.hasOwn(files, file) ? bytes(files[file]) : undefined;
      },
    };
  },
  wrongHardware(hand) {
    const foreign = hand.honest.models.filter(({ custom }) => custom.tags.includes('cuda'));
    const { custom } = foreign.length > 0 ? hand.chance.pick(foreign) : anyone(hand);
    return give(orders(hand, [newOrder(hand, custom.model, custom.version)]));
  },
  swappedBlob(hand) {
    const { custom } = anyLawful(hand);
    const other = hand.chance.pick([...hand.honest.blobs.values()]);
    const path = manifestPath(custom.model, custom.version);
    const file = { length: other.length, hashes: { sha256: sha256(other) }, custom };
    const swapped = give(
      orders(
        hand,
        [newOrder(hand, custom.model, custom.version)],
        hand.chance.is(0.5) ? { targets: { [path]: file } } : {},
      ),
    );
    const all = hand.chance.is(0.3);
    return { ...swapped, blob: (wanted) => sameLength(hand, wanted, all) };
  },
  belowFloor(hand) {
    const low = hand.honest.models.filter(({ custom }) => custom.release < hand.honest.floorOf(custom.model));
    const { custom } = low.length > 0 ? hand.chance.pick(low) : anyone(hand);
    return give(orders(hand, [newOrder(hand, custom.model, custom.version)]));
  },
  damage({ honest, chance }) {
    const kind = chance.pick(KINDS);
    const now = honest.history.at(-1)!;
    return {
      document(path) {
        if (fileOf(path) !== kind) return undefined;
        const answer = fromPast(now, path);
        return 'bytes' in answer && answer.bytes ? bytes(damaged(chance, answer.bytes)) : answer;
      },
    };
  },
  /** What the stolen director key may lawfully do. */
  steer(hand) {
    const { custom } = anyLawful(hand);
    return give(orders(hand, [newOrder(hand, custom.model, custom.version)]));
  },
} satisfies Record<string, (hand: Hand) => Grip>;

export type MoveName = keyof typeof MOVES;
export const MOVE_NAMES = Object.keys(MOVES) as MoveName[];
/** What takes more than the network. */
export const KEYED: readonly MoveName[] = ['fastForward', 'wrongHardware', 'belowFloor', 'steer'];

function targetsIn(image: Record<string, Uint8Array>): Record<string, TargetFile> {
  const lists = Object.entries(image).filter(([name]) => fileOf(`/${name}`) === 'targets.json');
  return Object.assign(
    {},
    ...lists.map(([, list]) => JSON.parse(Buffer.from(list).toString()).signed.targets),
  );
}

function flowing(chance: Chance, flow: 'endless' | 'trickle' | 'cut'): Grip {
  const kind = chance.pick([...KINDS, 'blobs', 'blobs']);
  return {
    document: (path) => (fileOf(path) === kind ? { flow } : undefined),
    blob: () => (kind === 'blobs' ? { flow } : undefined),
  };
}

/** @param all manifests as well, or models only */
function sameLength({ honest, chance }: Hand, wanted: string, all: boolean): Answer {
  const right = honest.blobs.get(wanted);
  if (!right || (!all && right[0] === OPENING_BRACE)) return bytes(right);
  const wrong = right.slice();
  wrong[chance.below(wrong.length)]! ^= 1 << chance.below(8);
  return bytes(wrong);
}

function damaged(chance: Chance, good: Uint8Array): Uint8Array {
  const at = chance.below(good.length);
  if (chance.is(0.3)) return good.slice(0, at);
  if (chance.is(0.3)) return Buffer.concat([good, chance.entropy().bytes(1 + chance.below(40))]);
  const flipped = good.slice();
  flipped[at]! ^= 1 << chance.below(8);
  return flipped;
}

/** In the server's place: what a grip does not answer is answered as the server would have. */
export class Attacker implements Upstream {
  readonly #honest: Honest;
  grips: Grip[] = [];

  constructor(honest: Honest) {
    this.#honest = honest;
  }

  document(path: string): Answer {
    return this.#first((grip) => grip.document?.(path)) ?? fromPast(this.#honest.history.at(-1)!, path);
  }

  blob(wanted: string): Answer {
    return this.#first((grip) => grip.blob?.(wanted)) ?? bytes(this.#honest.blobs.get(wanted));
  }

  #first(ask: (grip: Grip) => Answer | undefined): Answer | undefined {
    for (const grip of this.grips) {
      const answer = ask(grip);
      if (answer) return answer;
    }
    return undefined;
  }
}

export const ownKeys = OWN;
