/**
 * One repository's client over the agent's own verifier and store. What counts is in trust.db and its guard; the files
 * in the metadata folder are a copy for people and tests. They are written and never read, so that a torn or exchanged
 * one can neither let a rollback through nor block a refresh.
 *
 * What is trusted is kept at once, step by step (5.3.8, 5.4.5, 5.5.7, 5.6.6), each time in one transaction.
 */
import { nodeKeys } from '@skein/agent/node-keys.ts';
import { afterRefresh, startImage, storedImage } from '@skein/agent/update/refresh-image.ts';
import type { TrustState, TrustStore } from '@skein/agent/update/trust-state.ts';
import { SkeinError } from '@skein/protocol/errors.ts';
import type { Clock } from '@skein/protocol/ports.ts';
import { findTarget, type Mirror, type Refresh, runRefresh } from '@skein/protocol/trust/client-workflow.ts';
import type { TargetFile } from '@skein/protocol/trust/metadata.ts';
import { loadRoot } from '@skein/protocol/trust/root-chain.ts';
import { targetPathOnMirror } from '@skein/protocol/trust/target-file.ts';

/** Where the copies go. */
export interface MetadataFolder {
  /** Makes the folder show exactly these of the roles that it or `before` had. */
  show(documents: ReadonlyMap<string, Uint8Array>, before: Iterable<string>): void;
}

export interface TufParts {
  store: TrustStore;
  clock: Pick<Clock, 'now'>;
  folder: MetadataFolder;
  /** Not needed to begin. */
  mirror?: Mirror;
}

export interface FoundTarget {
  path: string;
  file: TargetFile;
  /** Under the base of the repository's targets (5.7.3). */
  mirrorPath: string;
}

/** There is no director here: its place in the store stays empty. */
const NO_DIRECTOR = new Uint8Array();

export class TufClient {
  readonly #parts: TufParts;
  #state: TrustState | undefined;
  #refresh: Refresh | undefined;

  constructor(parts: TufParts) {
    this.#parts = parts;
    this.#state = parts.store.load();
  }

  /** Again with the same root it changes nothing. @throws SkeinError METADATA_INVALID, SIGNATURE_INVALID */
  init(root: Uint8Array): void {
    loadRoot(nodeKeys, root, 'trusted root');
    const pinned = this.#state?.pins.image;
    if (!pinned || Buffer.compare(pinned, root) !== 0) this.#parts.store.pin(root, NO_DIRECTOR);
    this.#state = this.#parts.store.load()!;
    this.#show(this.#state);
  }

  /** @throws SkeinError NOT_ENROLLED, METADATA_*, SIGNATURE_INVALID, UNREACHABLE */
  async refresh(): Promise<void> {
    const before = this.#known();
    // A clock that was set back thaws nothing; only a complete refresh moves the mark.
    const now = Math.max(this.#parts.clock.now(), before.highestTimeAt);
    const refresh = startImage(nodeKeys, before, now);
    this.#refresh = refresh;
    await runRefresh(this.#mirror(), refresh, storedImage(before), () => this.#persist(before.highestTimeAt));
    this.#persist(now);
  }

  /** After a refresh. @throws SkeinError NOT_FOUND, METADATA_*, SIGNATURE_INVALID, UNREACHABLE */
  async find(path: string): Promise<FoundTarget> {
    const refresh = this.#refresh;
    if (!refresh) throw new SkeinError('INTERNAL', 'a refresh comes first');
    const known = this.#known();
    try {
      const file = await findTarget(this.#mirror(), refresh, storedImage(known), path);
      // 5.7.2.
      if (!file) throw new SkeinError('NOT_FOUND', `no signed metadata speaks of ${path}`);
      const consistent = refresh.set.root.consistent_snapshot === true;
      return { path, file, mirrorPath: targetPathOnMirror(path, file, consistent) };
    } finally {
      this.#persist(known.highestTimeAt);
    }
  }

  #persist(highestTimeAt: number): void {
    const before = this.#known();
    const after = { ...afterRefresh(before, this.#refresh!), highestTimeAt };
    this.#parts.store.commit(after);
    this.#state = after;
    this.#show(after, Object.keys(before.documents.image));
  }

  #show({ image, documents }: TrustState, before: Iterable<string> = []): void {
    const shown = new Map([...Object.entries(documents.image), ['root', image.root] as const]);
    this.#parts.folder.show(shown, ['timestamp', 'snapshot', 'targets', ...before]);
  }

  #known(): TrustState {
    if (this.#state) return this.#state;
    throw new SkeinError('NOT_ENROLLED', 'no root is trusted here yet', {
      fix: 'Begin with `init ROOT.json`.',
    });
  }

  #mirror(): Mirror {
    if (this.#parts.mirror) return this.#parts.mirror;
    throw new SkeinError('INTERNAL', 'this client was made without a mirror');
  }
}
