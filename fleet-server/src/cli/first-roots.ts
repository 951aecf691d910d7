/**
 * The first roots when their keys are with different people: made from public keys that holders exported, signed by
 * nobody yet. Image root, director root and the empty list of models travel as one draft.
 */
import type { OnlineKeys } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { ROOT_LIFETIME, TARGETS_LIFETIME } from '@skein/protocol/trust/expiry.ts';
import { dateOf, type Root, type Targets } from '@skein/protocol/trust/metadata.ts';
import { keyIdOf, rootSigned, SPEC_VERSION } from '@skein/protocol/trust/signing.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { DraftParts } from '../keys/draft-checks.ts';
import { renewed } from '../keys/next-targets.ts';
import type { OfflineRole } from '../keys/roles.ts';
import { requireThreshold } from '../keys/root-plan.ts';
import type { PublicKeyFile } from './public-keys.ts';

export interface FirstRoots {
  keys: readonly PublicKeyFile[];
  /** Of each root; of the publisher 1. */
  threshold: number | undefined;
  online: OnlineKeys;
  now: Millis;
  /** When a lost threshold is replaced: models that go on being approved, under the publisher's old key. */
  targets?: Targets | undefined;
}

/** @throws SkeinError KEYS_INVALID (a role without keys), KEY_DUPLICATE, THRESHOLD_INVALID */
export function firstRoots({ keys, threshold, online, now, targets }: FirstRoots): DraftParts {
  const of = (role: OfflineRole) => distinct(role, keys);
  const majority = (count: number) => threshold ?? Math.max(1, Math.floor(count / 2) + 1);
  const offline = (role: OfflineRole, need: (count: number) => number) => {
    const holders = of(role);
    const said = { keys: holders, threshold: need(holders.length) };
    requireThreshold(role, { keyids: holders, threshold: said.threshold });
    return said;
  };
  const one = (key: string) => ({ keys: [key], threshold: 1 });
  const director = one(online.director);
  const image = rootSigned(1, now + ROOT_LIFETIME, {
    root: offline('root', majority),
    targets: offline('targets', () => 1),
    snapshot: one(online.snapshot),
    timestamp: one(online.timestamp),
  });
  const directorRoot = rootSigned(1, now + ROOT_LIFETIME, {
    root: offline('director-root', majority),
    targets: director,
    snapshot: director,
    timestamp: director,
  });
  const expires = dateOf(now + TARGETS_LIFETIME);
  return {
    purpose: targets ? 'new roots in place of lost ones' : 'the first roots and an empty list of models',
    chains: { image: [], director: [] },
    documents: [
      { kind: 'image-root', signed: withHolders(image, keys) },
      { kind: 'director-root', signed: withHolders(directorRoot, keys) },
      {
        kind: 'image-targets',
        signed: targets
          ? renewed(targets, now)
          : { _type: 'targets', spec_version: SPEC_VERSION, version: 1, expires, targets: {} },
      },
    ],
  };
}

function distinct(role: OfflineRole, keys: readonly PublicKeyFile[]): string[] {
  const own = keys.filter((key) => key.role === role);
  if (own.length === 0) {
    throw new SkeinError('KEYS_INVALID', `no key for the role ${role} was given`, {
      fix: 'Give --key FILE for root, director-root and targets; holders make them with `skein keys create`.',
    });
  }
  const twice = own.find(({ public: key }, at) => own.findIndex((other) => other.public === key) !== at);
  if (!twice) return own.map((key) => key.public);
  throw new SkeinError('KEY_DUPLICATE', `${role}: the key of ${twice.name} was given twice`, {
    fix: 'Each holder needs a key of their own; a key counts once.',
  });
}

function withHolders(signed: object, keys: readonly PublicKeyFile[]): object {
  const { keys: named } = signed as Root;
  const holders = keys
    .map((key) => [keyIdOf(key.public), key.name] as const)
    .filter(([id]) => Object.hasOwn(named, id));
  return { ...signed, 'x-skein-holders': Object.fromEntries(holders) };
}
