/**
 * Preparing what roots should say next: keys added, removed, replaced, or the same for longer. Every change ends in one
 * draft, with everything that has to change together: a root that withdraws the publisher's key comes with the list of
 * models signed anew, so that devices never see one without the other.
 */
import type { OnlineRole } from '@skein/protocol/api.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import { ROOT_LIFETIME } from '@skein/protocol/trust/expiry.ts';
import type { Root } from '@skein/protocol/trust/metadata.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { DraftParts } from '../keys/draft-checks.ts';
import { renewed } from '../keys/next-targets.ts';
import { type KeyRole, type OfflineRole, placeOf } from '../keys/roles.ts';
import {
  addKeys,
  nextRootOf,
  type PublicKeyOf,
  removeKeys,
  replaceKeys,
  withThreshold,
} from '../keys/root-plan.ts';
import type { ApiClient } from './client.ts';
import { readPin, readPins } from './pins.ts';
import { fetchTrusted, type Trusted, type TrustedFrom } from './trusted.ts';

export type RootChange =
  | { kind: 'add'; role: OfflineRole; keys: readonly PublicKeyOf[]; threshold?: number | undefined }
  | { kind: 'remove'; role: OfflineRole; keys: readonly string[]; threshold?: number | undefined }
  | { kind: 'replace'; role: KeyRole; old: readonly string[] | undefined; keys: readonly PublicKeyOf[] }
  | { kind: 'renew'; role: OfflineRole };

export interface ChangeOptions extends TrustedFrom {
  clock: { now(): Millis };
  purpose: string;
  /**
   * The publisher's key is in other hands: what it signed since is worth nothing, so the list of models is taken from
   * this folder and not from the server.
   */
  stolen?: boolean;
}

/** @throws SkeinError as {@link fetchTrusted}; KEY_DUPLICATE, NOT_FOUND, THRESHOLD_INVALID */
export async function prepareRoots(
  options: ChangeOptions,
  changes: readonly RootChange[],
): Promise<DraftParts> {
  const repos = (['image', 'director'] as const).filter((repo) =>
    changes.some(({ role }) => placeOf(role).repo === repo),
  );
  const trusted = await fetchTrusted(options, repos);
  const now = options.clock.now();
  const documents: DraftParts['documents'][number][] = [];
  for (const repo of repos) {
    const own = changes.filter(({ role }) => placeOf(role).repo === repo);
    // Renewing the list of models needs no new root.
    if (own.every((change) => change.kind === 'renew' && change.role === 'targets')) continue;
    const next = nextRootOf(own.reduce(applied, trusted.roots[repo]!), now + ROOT_LIFETIME);
    documents.push({ kind: `${repo}-root`, signed: next });
  }
  const list = listOf(options, trusted);
  const resign = changes.some(({ role, kind }) => role === 'targets' && kind !== 'add');
  if (resign) documents.push({ kind: 'image-targets', signed: renewed(list.targets, now) });
  return { purpose: options.purpose, chains: trusted.chains, targets: list.targetsBytes, documents };
}

function applied(root: Root, change: RootChange): Root {
  switch (change.kind) {
    case 'add':
      return thresholdOf(addKeys(root, change.role, change.keys), change);
    case 'remove':
      return thresholdOf(removeKeys(root, change.role, change.keys), change);
    case 'replace':
      return replaceKeys(root, change.role, change.old, change.keys);
    case 'renew':
      return root;
  }
}

const thresholdOf = (
  root: Root,
  { role, threshold }: { role: KeyRole; threshold?: number | undefined },
): Root => (threshold === undefined ? root : withThreshold(root, role, threshold));

/** The list of models to sign anew. @throws SkeinError KEYS_INVALID */
function listOf({ stolen, dir }: ChangeOptions, trusted: Trusted): Pick<Trusted, 'targets' | 'targetsBytes'> {
  if (!stolen) return trusted;
  const [targets, targetsBytes] = [readPins(dir).targets, readPin(dir, 'image-targets')];
  if (targets && targetsBytes) return { targets, targetsBytes };
  throw new SkeinError('KEYS_INVALID', `${dir} remembers no list of models from before the theft`, {
    fix: 'Give the folder that last published (--dir); the server’s list may be the thief’s.',
  });
}

/** Has the server make new online keys, and names them. */
export async function stagedOnlineKeys(api: ApiClient, roles: readonly OnlineRole[]): Promise<RootChange[]> {
  const keys = await api.call('stageOnlineKeys', { body: { roles: [...roles] } });
  return roles.flatMap((role): RootChange[] =>
    role === 'ack' ? [] : [{ kind: 'replace', role, old: undefined, keys: [{ publicKey: keys[role] }] }],
  );
}
