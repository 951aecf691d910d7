/**
 * The device's trust: refreshes image repository and director through ports, commits all of it at once, and says
 * which orders hold. The two sides are refreshed independently, so that acknowledgement keys stay current while the
 * image repository can not be verified; orders hold only when both did.
 *
 * Time is never earlier than the latest time at which everything was signed and unexpired (a clock that was set
 * back, or that starts in 1970, thaws nothing). Only a complete refresh moves that mark, so a clock that was wrong
 * into the future can not freeze the device for good.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Clock, Verify } from '@skein/protocol/ports.ts';
import { ed25519Keys, type KeyVerify } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { ImageSide } from './agreement.ts';
import type { Fetcher, Trust, TrustedView } from './ports.ts';
import { type DirectorProgress, readStored, refreshDirector, startDirector } from './refresh-director.ts';
import {
  attempt,
  type ImageProgress,
  loadImage,
  refreshDelegated,
  refreshImage,
  startImage,
} from './refresh-image.ts';
import type { TrustState, TrustStore } from './trust-state.ts';
import { type Held, holdBoth, holdExpired, holdNone, isAhead } from './trusted-view.ts';

export interface TrustOptions {
  fetcher: Fetcher;
  store: TrustStore;
  clock: Clock;
  verify: Verify;
  device: string;
  hardwareTags: readonly string[];
}

/** No expiry is judged at this time: a stored view is loaded first and aged when it is asked for. */
const WHENEVER: Millis = Number.NEGATIVE_INFINITY;
const NEVER: Millis = Number.POSITIVE_INFINITY;

export class TrustClient implements Trust {
  readonly #options: TrustOptions;
  readonly #keys: KeyVerify;
  #held: Held | undefined;
  #highestTimeAt: Millis = 0;
  #loaded = false;
  #running: Promise<TrustedView> | undefined;

  constructor(options: TrustOptions) {
    this.#options = options;
    this.#keys = ed25519Keys(options.verify);
  }

  view(): TrustedView | undefined {
    this.#load();
    if (!this.#held) return undefined;
    const { view, validUntil } = this.#held;
    return this.now() < validUntil ? view : holdExpired(view, validUntil);
  }

  /** Wall clock, but never behind the highest trusted time. */
  now(): Millis {
    this.#load();
    return Math.max(this.#options.clock.now(), this.#highestTimeAt);
  }

  /** One refresh at a time; who asks meanwhile gets the same answer. */
  refresh(): Promise<TrustedView> {
    this.#running ??= this.#refresh().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #refresh(): Promise<TrustedView> {
    const before = this.#options.store.load();
    if (!before) throw notEnrolled();
    const now = this.now();
    const image = startImage(this.#keys, before, now);
    const director = startDirector(this.#keys, before);
    const context = { ...this.#options, now };
    const { fetcher } = this.#options;
    const imageFailure = await failureOf(() => refreshImage(fetcher, image, before.documents.image));
    const directorFailure = await failureOf(() => refreshDirector(context, director));
    if (imageFailure ?? directorFailure) {
      throw this.#keepPart(before, image, director, (imageFailure ?? directorFailure)!);
    }
    const current = await this.#caughtUp(before, image, director, now);
    return this.#keepAll(before, current, director, now);
  }

  /** The server may have published between the two halves: once more, then it counts as a disagreement. */
  async #caughtUp(
    before: TrustState,
    image: ImageProgress,
    director: DirectorProgress,
    now: Millis,
  ): Promise<ImageProgress> {
    let current = image;
    const fail = (failure: SkeinError | undefined) => {
      if (failure) throw this.#keepPart(before, current, director, failure);
    };
    if (isAhead(director.parsed!, image)) {
      current = startImage(this.#keys, merged(before, image, director), now);
      fail(await failureOf(() => refreshImage(this.#options.fetcher, current, image.documents)));
    }
    for (const order of director.parsed!.orders.orders) {
      const path = manifestPath(order.model, order.version);
      const cached = before.documents.image;
      fail(await failureOf(() => refreshDelegated(this.#options.fetcher, current, cached, path)));
    }
    return current;
  }

  /** Everything verified: committed before anyone can act on it. */
  #keepAll(before: TrustState, image: ImageProgress, director: DirectorProgress, now: Millis): TrustedView {
    const { clock, hardwareTags, store } = this.#options;
    const refreshed = { refreshedMono: clock.mono(), refreshedAt: clock.now() };
    const side = { ...image, targets: image.targets! };
    const held = holdBoth(side, director.parsed!, hardwareTags, before.releaseFloors, refreshed);
    store.commit({
      ...merged(before, image, director),
      releaseFloors: held.floors,
      highestTimeAt: now,
      refreshedAt: refreshed.refreshedAt,
    });
    this.#held = held;
    this.#highestTimeAt = now;
    return held.view;
  }

  /** What verified stays verified; orders stay those of the last complete refresh, under the newest ack keys. */
  #keepPart(
    before: TrustState,
    image: ImageProgress,
    director: DirectorProgress,
    failure: SkeinError,
  ): SkeinError {
    this.#options.store.commit(merged(before, image, director));
    const said = director.parsed;
    if (!said) return failure;
    const never = { refreshedMono: WHENEVER, refreshedAt: before.refreshedAt };
    this.#held = this.#held
      ? { ...this.#held, view: { ...this.#held.view, ackKeys: said.orders.ackKeys } }
      : {
          view: holdNone(said, failure.code, failure.message, never),
          validUntil: NEVER,
          floors: before.releaseFloors,
        };
    return failure;
  }

  #load(): void {
    if (this.#loaded) return;
    const state = this.#options.store.load();
    this.#highestTimeAt = state?.highestTimeAt ?? 0;
    this.#held = state && this.#restore(state);
    this.#loaded = true;
  }

  /** From disk after a restart: everything is verified again. */
  #restore(state: TrustState): Held | undefined {
    const bytes = state.documents.director;
    const start = attempt(() => startDirector(this.#keys, state));
    const context = { ...this.#options, now: WHENEVER };
    const director = bytes && start && attempt(() => readStored(start, bytes, context));
    if (!director) return undefined;
    const refreshed = { refreshedMono: WHENEVER, refreshedAt: state.refreshedAt };
    const image: ImageSide | undefined = attempt(() => loadImage(this.#keys, state));
    if (image) {
      return holdBoth(image, director, this.#options.hardwareTags, state.releaseFloors, refreshed);
    }
    const view = holdNone(director, 'METADATA_INVALID', 'the stored image metadata is incomplete', refreshed);
    return { view, validUntil: NEVER, floors: state.releaseFloors };
  }
}

/** Stored state with what a refresh reached; an image document that was not reached this time stays as a cache. */
function merged(before: TrustState, image: ImageProgress, director: DirectorProgress): TrustState {
  const document = director.document ?? before.documents.director;
  return {
    ...before,
    image: { root: image.root, floors: image.set.floors },
    director: { root: director.root, floors: director.floors },
    documents: {
      image: { ...before.documents.image, ...image.documents },
      ...(document ? { director: document } : {}),
    },
  };
}

const notEnrolled = () =>
  new SkeinError('NOT_ENROLLED', 'no pinned roots are stored on this device', {
    fix: 'Enrol it with `skein-agent enroll --server URL --token TOKEN`.',
  });

async function failureOf(step: () => Promise<void>): Promise<SkeinError | undefined> {
  try {
    await step();
    return undefined;
  } catch (thrown) {
    return asSkeinError(thrown);
  }
}
