/** Targets, blobs and models on the people's port: what publishers upload and everybody may read. */
import type { ModelView } from '@skein/protocol/api.ts';
import { fromBase64, toBase64 } from '@skein/protocol/base64.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Blobs } from '../blobs/port.ts';
import type { ImageRepository } from '../models/image-repository.ts';
import { listModels, showModel } from '../models/registry.ts';
import type { Store } from '../store/sqlite-store.ts';
import type { Handlers } from './handlers.ts';

export interface ModelRouteDeps {
  store: Store;
  blobs: Blobs;
  repository: ImageRepository;
  /** Largest blob that may be uploaded. */
  maxBlobBytes: Bytes;
  /** After new targets: director documents speak of a newer image snapshot now. */
  published?(): void;
}

const done = { ok: true } as const;

export function modelRoutes(deps: ModelRouteDeps): Handlers {
  const { store, blobs, repository } = deps;
  return {
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
