/** The image repository as this device reaches and remembers it: the client workflow's mirror and its starting point. */
import {
  type Documents,
  type Mirror,
  mergeDocuments,
  type Refresh,
  startRefresh,
} from '@skein/protocol/trust/client-workflow.ts';
import type { ReadKey } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { ImageSide } from './agreement.ts';
import type { Fetcher } from './ports.ts';
import type { GuardedState, TrustState } from './trust-state.ts';

export const imageMirror = (fetcher: Pick<Fetcher, 'document'>): Mirror => ({
  document: (file, maxBytes) => fetcher.document(`/v1/image/${encodeURIComponent(file)}`, maxBytes),
});

export const startImage = (read: ReadKey, { image, pins }: GuardedState, now: Millis): Refresh =>
  startRefresh(read, { last: image.root, pinned: pins.image, floors: image.floors }, now);

export const storedImage = ({ documents }: TrustState): Documents => new Map(Object.entries(documents.image));

/** The image side of the state after a refresh, finished or not. */
export const afterRefresh = (before: TrustState, refresh: Refresh): TrustState => ({
  ...before,
  image: { root: refresh.root, floors: refresh.set.floors },
  // A thief of the publisher's key may have raised floors beyond every release there will be. Whatever floors hold are in
  // the targets that the new key signs; until those are here no order is agreed to.
  releaseFloors: refresh.set.targetsWithdrawn ? {} : before.releaseFloors,
  // A thief of the online keys and of the clock may have vouched for a time at which nothing honest is fresh. It goes
  // with his keys, like the versions that they vouched for.
  highestTimeAt: refresh.set.recovered ? 0 : before.highestTimeAt,
  documents: {
    ...before.documents,
    image: Object.fromEntries(mergeDocuments(storedImage(before), refresh)),
  },
});

/** The stored documents, verified as if they had just come, but for their expiry. @throws SkeinError METADATA_*, SIGNATURE_INVALID */
export function loadImage(read: ReadKey, state: TrustState): ImageSide {
  const { set } = startImage(read, state, Number.NEGATIVE_INFINITY);
  const documents = storedImage(state);
  const none = new Uint8Array();
  set.finishRoot();
  set.updateTimestamp(documents.get('timestamp') ?? none);
  set.updateSnapshot(documents.get('snapshot') ?? none);
  return { set, targets: set.readTargets(documents.get('targets') ?? none), documents };
}
