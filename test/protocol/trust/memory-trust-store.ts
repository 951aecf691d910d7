/** A trust store without a disk, for the simulation and for tests of what is decided rather than of how it is kept. */
import {
  type Judged,
  pinnedState,
  type TrustState,
  type TrustStore,
} from '@skein/agent/update/trust-state.ts';

export class MemoryTrustStore implements TrustStore {
  state: TrustState | undefined;
  commits = 0;
  #judged: Judged | undefined;

  load(): TrustState | undefined {
    return this.state && structuredClone(this.state);
  }

  judged(): Judged | undefined {
    return structuredClone(this.#judged);
  }

  commit(state: TrustState, judged?: Judged): void {
    this.state = structuredClone(state);
    this.#judged = structuredClone(judged);
    this.commits++;
  }

  pin(imageRoot: Uint8Array, directorRoot: Uint8Array): void {
    this.commit(pinnedState(imageRoot, directorRoot));
  }
}
