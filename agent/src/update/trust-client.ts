/**
 * The device's trust: refreshes image repository and director through ports, commits all of it at once, and says
 * which orders hold. The two sides are refreshed independently, so that acknowledgement keys stay current while the
 * image repository can not be verified; orders hold only when both did.
 *
 * Time is never earlier than the latest time at which everything was signed and unexpired (a clock that was set
 * back, or that starts in 1970, thaws nothing). Only a complete refresh moves that mark, so a clock that was wrong
 * into the future can not freeze the device for good; nor can a thief of the online keys, whose time goes with them.
 */
import { asSkeinError, SkeinError } from '@skein/protocol/errors.ts';
import { manifestPath } from '@skein/protocol/manifest.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { findTarget, type Refresh, runRefresh } from '@skein/protocol/trust/client-workflow.ts';
import { type ReleaseFloors, raiseFloors } from '@skein/protocol/trust/director.ts';
import type { ReadKey } from '@skein/protocol/trust/signatures.ts';
import type { Millis } from '@skein/protocol/units.ts';
import { attempt } from '../attempt.ts';
import type { ImageSide } from './agreement.ts';
import type { Fetcher, InstalledVersion, SpokenAgainst, Trust, TrustedView } from './ports.ts';
import { type DirectorProgress, readStored, refreshDirector, startDirector } from './refresh-director.ts';
import { afterRefresh, imageMirror, loadImage, startImage, storedImage } from './refresh-image.ts';
import type { TrustState, TrustStore } from './trust-state.ts';
import { type Held, holdBoth, holdExpired, holdNone, isAhead } from './trusted-view.ts';

export interface TrustOptions {
  fetcher: Fetcher;
  store: TrustStore;
  clock: Clock;
  /** The schemes that roots and targets may be signed with. */
  keys: ReadKey;
  device: string;
  hardwareTags: readonly string[];
  /** What is on the device, to be held against the signed targets. */
  installed?(): readonly InstalledVersion[];
  /** The device was enrolled at this time: it is not earlier, whatever the clock says before the first refresh. */
  enrolledAt?: Millis;
}

/** No expiry is judged at this time: a stored view is loaded first and aged when it is asked for. */
const WHENEVER: Millis = Number.NEGATIVE_INFINITY;
const NEVER: Millis = Number.POSITIVE_INFINITY;

export class TrustClient implements Trust {
  readonly #options: TrustOptions;
  #held: Held | undefined;
  #highestTimeAt: Millis = 0;
  #loaded = false;
  #floors: ReleaseFloors = {};
  #running: Promise<TrustedView> | undefined;

  constructor(options: TrustOptions) {
    this.#options = options;
  }

  view(): TrustedView | undefined {
    this.#load();
    if (!this.#held) return undefined;
    const { view, validUntil } = this.#held;
    return this.now() < validUntil ? view : holdExpired(view, validUntil);
  }

  /** Wall clock, but never behind the highest trusted time, nor behind enrolment. */
  now(): Millis {
    this.#load();
    return Math.max(this.#options.clock.now(), this.#options.enrolledAt ?? 0, this.#highestTimeAt);
  }

  /**
   * As it was judged with the last commit, when that is still the last and the same versions are installed: a start then
   * need not verify every document before it loads its model.
   */
  spokenAgainst(): SpokenAgainst {
    const kept = this.#loaded ? undefined : this.#options.store.judged();
    const same = JSON.stringify(kept?.installed) === JSON.stringify(this.#installed());
    if (kept && same) return kept;
    const barred = this.view()?.barred ?? [];
    return { barred, releaseFloors: this.#floors };
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
    const { keys, fetcher } = this.#options;
    const image = startImage(keys, before, now);
    const director = startDirector(keys, before);
    const imageFailure = await failureOf(() => runRefresh(imageMirror(fetcher), image, storedImage(before)));
    const directorFailure = await failureOf(() => refreshDirector({ ...this.#options, now }, director));
    const reached = merged(before, image, director);
    const failure = imageFailure ?? directorFailure;
    if (failure) throw this.#keepPart(reached, director, failure);
    const side = await this.#caughtUp(reached, image, director, now);
    return this.#keepAll(merged(reached, side, director), side, director, now);
  }

  /** The server may have published between the two halves: once more, then it counts as a disagreement. */
  async #caughtUp(
    reached: TrustState,
    image: Refresh,
    director: DirectorProgress,
    now: Millis,
  ): Promise<Refresh & ImageSide> {
    const mirror = imageMirror(this.#options.fetcher);
    const current = isAhead(director.parsed!, image) ? startImage(this.#options.keys, reached, now) : image;
    const failures = new Map<string, SkeinError>();
    const cached = storedImage(reached);
    const failure = await failureOf(async () => {
      if (current !== image) await runRefresh(mirror, current, cached);
      for (const { model, version } of director.parsed!.orders.orders) {
        const path = manifestPath(model, version);
        const ended = await failureOf(() => findTarget(mirror, current, cached, path));
        if (ended?.code === 'UNREACHABLE') throw ended;
        if (ended) failures.set(path, ended);
      }
      // Roles that speak of what is installed; without them nothing is held against it.
      for (const { model, version } of this.#installed())
        await failureOf(() => findTarget(mirror, current, cached, manifestPath(model, version)));
    });
    if (failure) throw this.#keepPart(merged(reached, current, director), director, failure);
    return { ...current, targets: current.targets!, failures };
  }

  /** Everything verified: committed before anyone can act on it. */
  #keepAll(reached: TrustState, image: ImageSide, director: DirectorProgress, now: Millis): TrustedView {
    const { clock, hardwareTags, store } = this.#options;
    const refreshed = { refreshedMono: clock.mono(), refreshedAt: clock.now() };
    const { releaseFloors } = reached;
    const installed = this.#installed();
    const held = holdBoth(image, director.parsed!, hardwareTags, releaseFloors, refreshed, installed);
    const { floors, view } = held;
    const next = {
      ...reached,
      releaseFloors: floors,
      highestTimeAt: now,
      refreshedAt: refreshed.refreshedAt,
    };
    store.commit(next, { installed, barred: view.barred ?? [], releaseFloors: floors });
    this.#held = held;
    this.#floors = floors;
    this.#highestTimeAt = now;
    return view;
  }

  /** What verified stays verified; orders stay those of the last complete refresh, under the newest ack keys. */
  #keepPart(reached: TrustState, director: DirectorProgress, failure: SkeinError): SkeinError {
    this.#options.store.commit(reached);
    this.#floors = reached.releaseFloors;
    this.#highestTimeAt = reached.highestTimeAt;
    const said = director.parsed;
    if (!said) return failure;
    const never = { refreshedMono: WHENEVER, refreshedAt: reached.refreshedAt };
    this.#held = this.#held
      ? { ...this.#held, view: { ...this.#held.view, ackKeys: said.orders.ackKeys } }
      : { view: holdNone(said, failure.code, failure.message, never), validUntil: NEVER };
    return failure;
  }

  #installed(): readonly InstalledVersion[] {
    return this.#options.installed?.() ?? [];
  }

  #load(): void {
    if (this.#loaded) return;
    const state = this.#options.store.load();
    this.#highestTimeAt = state?.highestTimeAt ?? 0;
    this.#floors = state?.releaseFloors ?? {};
    this.#held = state && this.#restore(state);
    this.#loaded = true;
  }

  /** From disk after a restart: everything is verified again. */
  #restore(state: TrustState): Held | undefined {
    const bytes = state.documents.director;
    // What is torn among the stored documents is no error: it is fetched again.
    const start = attempt(() => startDirector(this.#options.keys, state));
    const context = { ...this.#options, now: WHENEVER };
    const director = bytes && start && attempt(() => readStored(start, bytes, context));
    if (!director) return undefined;
    const refreshed = { refreshedMono: WHENEVER, refreshedAt: state.refreshedAt };
    const image: ImageSide | undefined = attempt(() => loadImage(this.#options.keys, state));
    if (image) {
      const { hardwareTags } = this.#options;
      const floors = state.releaseFloors;
      const held = holdBoth(image, director, hardwareTags, floors, refreshed, this.#installed());
      this.#floors = held.floors;
      return held;
    }
    const view = holdNone(director, 'METADATA_INVALID', 'the stored image metadata is incomplete', refreshed);
    return { view, validUntil: NEVER };
  }
}

/** Stored state with what a refresh reached on both sides. */
function merged(before: TrustState, image: Refresh, director: DirectorProgress): TrustState {
  const after = afterRefresh(before, image);
  const document = director.document ?? before.documents.director;
  // A floor that was seen counts, also where the refresh ends before it is whole.
  const { releaseFloors } = after;
  return {
    ...after,
    releaseFloors: image.targets ? raiseFloors(releaseFloors, image.targets.targets) : releaseFloors,
    director: { root: director.root, floors: director.floors },
    documents: { ...after.documents, ...(document ? { director: document } : {}) },
  };
}

const notEnrolled = () =>
  new SkeinError('NOT_ENROLLED', 'no pinned roots are stored on this device', {
    fix: 'Enrol it with `skein-agent enroll --server URL --token TOKEN`.',
  });

async function failureOf(step: () => Promise<unknown>): Promise<SkeinError | undefined> {
  try {
    await step();
    return undefined;
  } catch (thrown) {
    return asSkeinError(thrown);
  }
}
