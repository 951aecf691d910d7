/** Roots, online keys and what is to be said about them: what key holders upload and everybody may read. */
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { ed25519Keys } from '@skein/protocol/trust/signatures.ts';
import type { ImageRepository } from '../models/image-repository.ts';
import { newestKeys, type OnlineKeyring } from '../models/online-keys.ts';
import { trustStatus } from '../models/trust-status.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';

export interface TrustRouteDeps {
  store: Store;
  repository: ImageRepository;
  online: OnlineKeyring;
  clock: Clock;
  verify: Verify;
  /** After new roots: what devices are shown has changed. */
  published?(): void;
}

const done = { ok: true } as const;
const VERSION = /^[1-9][0-9]{0,8}$/;

export function trustRoutes({
  store,
  repository,
  online,
  clock,
  verify,
  published,
}: TrustRouteDeps): Handlers {
  const decoded = ({ image, director, targets }: { image: string; director: string; targets?: string }) => ({
    image: fromBase64(image),
    director: fromBase64(director),
    ...(targets === undefined ? {} : { targets: fromBase64(targets) }),
  });
  return {
    onlineKeys: async () => newestKeys(online),
    stageOnlineKeys: async ({ body }) => {
      for (const role of body.roles) {
        online.stage(role);
        if (role === 'ack') online.keepOnly(role, newestKeys(online).ack);
      }
      if (body.roles.includes('ack')) published?.();
      return newestKeys(online);
    },
    trust: () => trustStatus({ db: store, online, keys: ed25519Keys(verify), now: clock.now() }),
    getRoots: async () => {
      const roots = await repository.latestRoots();
      if (!roots) {
        throw new SkeinError('NOT_FOUND', 'there are no signed roots yet', {
          fix: 'Make them with `skein keys init`.',
        });
      }
      return { image: toBase64(roots.image), director: toBase64(roots.director) };
    },
    getRoot: async ({ params }) => {
      const { repo = '', version = '' } = params;
      const known = (repo === 'image' || repo === 'director') && VERSION.test(version);
      const root = known ? await repository.file(repo, `${version}.root.json`) : undefined;
      if (!root) throw new SkeinError('NOT_FOUND', `there is no ${repo} root ${version}`);
      return { root: toBase64(root) };
    },
    putRoots: async ({ body }) => {
      await repository.putRoots(decoded(body));
      published?.();
      return done;
    },
    replaceRoots: async ({ body }) => {
      await repository.replaceRoots(decoded(body));
      published?.();
      return done;
    },
  };
}
