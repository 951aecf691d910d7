/** What verified metadata amounts to, for the rest of the agent: the view and the time until which it holds. */
import type { ErrorCode } from '@skein/protocol/errors.ts';
import type { DirectorDocument, ReleaseFloors } from '@skein/protocol/trust/director.ts';
import { expiresAt } from '@skein/protocol/trust/metadata.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { type ImageSide, settle } from './agreement.ts';
import { barredAmong } from './barred.ts';
import type { InstalledVersion, TrustedView } from './ports.ts';

export interface Held {
  view: TrustedView;
  /** When the first document behind the view expires. */
  validUntil: Millis;
}

export interface Refreshed {
  refreshedMono: Millis;
  refreshedAt: Millis;
}

/** Both sides verified: each order agreed or refused for a reason of its own. */
export function holdBoth(
  image: ImageSide,
  director: DirectorDocument,
  hardwareTags: readonly string[],
  before: ReleaseFloors,
  refreshed: Refreshed,
  installed: readonly InstalledVersion[] = [],
): Held & { floors: ReleaseFloors } {
  const { agreed, refused, floors } = settle(image, director, hardwareTags, before);
  const barred = barredAmong(image, floors, installed);
  const validUntil = Math.min(imageExpiry(image), director.expiresAt);
  if (isAhead(director, image)) {
    const snapshot = director.orders.imageSnapshotVersion;
    const message = `the director speaks of image snapshot ${snapshot}, this device has ${image.set.snapshot?.version}`;
    const view = { ...holdNone(director, 'METADATA_DISAGREES', message, refreshed), barred };
    return { view, validUntil, floors };
  }
  return { view: { ...base(director), ...refreshed, orders: agreed, refused, barred }, validUntil, floors };
}

/** The image side is not there: acknowledgement keys hold, orders do not. */
export const holdNone = (
  director: DirectorDocument,
  code: ErrorCode,
  message: string,
  refreshed: Refreshed,
): TrustedView => ({
  ...base(director),
  ...refreshed,
  orders: [],
  refused: director.orders.orders.map((order) => ({ order, code, message })),
});

/** Expired metadata blocks installing; acknowledgement keys stay, since reporting never stops. */
export function holdExpired(view: TrustedView, validUntil: Millis): TrustedView {
  const message = `the signed metadata expired at ${new Date(validUntil).toISOString()}`;
  const late = view.orders.map(({ order }) => ({ order, code: 'METADATA_EXPIRED', message }));
  return { ...view, orders: [], refused: [...view.refused, ...late] };
}

/** Was the director's document made against a later image snapshot than the one that is trusted here? */
export const isAhead = (director: DirectorDocument, image: Pick<ImageSide, 'set'>): boolean =>
  director.orders.imageSnapshotVersion > (image.set.snapshot?.version ?? 0);

const base = (director: DirectorDocument) => ({
  directorVersion: director.version,
  ackKeys: director.orders.ackKeys,
});

const imageExpiry = ({ set, targets }: ImageSide): Millis =>
  Math.min(...[set.root, set.timestamp!, set.snapshot!, targets].map(expiresAt));
