/** Roots, targets, blobs and models on the people's port: what publishers upload and everybody may read. */
import type { ModelView } from '@skein/protocol/api.ts';
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Blobs } from '../blobs/port.ts';
import type { ImageRepository } from '../models/image-repository.ts';
import { type OnlineSigners, publicOnlineKeys } from '../models/online-keys.ts';
import { listModels, showModel } from '../models/registry.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';

export interface ModelRouteDeps {
  store: Store;
  blobs: Blobs;
  repository: ImageRepository;
  online: OnlineSigners;
  /** Largest blob that may be uploaded. */
  maxBlobBytes: Bytes;
  /** After new targets: director documents speak of a newer image snapshot now. */
  published?(): void;
}

const done = { ok: true } as const;

export function modelRoutes(deps: ModelRouteDeps): Handlers {
  const { store, blobs, repository, online } = deps;
  return {
    onlineKeys: async () => publicOnlineKeys(online),
    getRoots: async () => {
      const roots = await repository.latestRoots();
      if (!roots) {
        throw new SkeinError('NOT_FOUND', 'there are no signed roots yet', {
          fix: 'Make them with `skein keys init`.',
        });
      }
      return { image: toBase64(roots.image), director: toBase64(roots.director) };
    },
    putRoots: async ({ body }) => {
      await repository.putRoots({ image: fromBase64(body.image), director: fromBase64(body.director) });
      return done;
    },
    getTargets: async () => ({ targets: toBase64((await repository.latestTargets()) ?? new Uint8Array()) }),
    putTargets: async ({ body }) => {
      await repository.putTargets(fromBase64(body.targets));
      deps.published?.();
      return done;
    },
    putBlob: async ({ params, raw }) => {
      const bytes = (raw.body ?? raw.raw) as AsyncIterable<Uint8Array>;
      return { sizeBytes: await blobs.write(params.sha256!, bytes, deps.maxBlobBytes) };
    },
    listModels: async () => ({ items: (await listModels(store)) satisfies ModelView[], next: null }),
    showModel: async ({ params }) => showModel(store, params.name!, params.version!),
  };
}
