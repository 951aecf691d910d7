/** What the erasure of devices needs of the rest of the server. */
import type { ErasurePlan, ErasureView } from '@skein/protocol/api.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { Kysely } from 'kysely';
import type { Tables } from '../store/schema.ts';
import type { Search } from './disk-search.ts';

export interface ErasureDeps {
  store: Kysely<Tables>;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** Throws the device off and forgets it wherever it is in memory; resolves when nothing of it is being stored. */
  forget(device: string): Promise<void>;
  /** Takes it out of a rollout, in the transaction `tx`. */
  eraseFromRollout(tx: Kysely<Tables>, rollout: string, device: string): Promise<void>;
  /** After rollouts changed. */
  settle(): void;
  /** Clears what the broker keeps on a device's topics; throws while it can not be reached. */
  clearTopics(device: string): Promise<void>;
  topics: number;
  /** The server's files, until the signal ends it. */
  search(text: string, signal: AbortSignal): Promise<Search>;
  freeBytes(): Promise<Bytes>;
}

export interface Erasures {
  /** @throws SkeinError NOT_FOUND */
  plan(device: string): Promise<ErasurePlan>;
  /** Commits that the device is refused from now on, and goes on by itself. @throws SkeinError NOT_FOUND */
  begin(device: string, by: string): Promise<ErasureView>;
  /** @throws SkeinError NOT_FOUND */
  show(pseudonym: string): Promise<ErasureView>;
  /** The newest. */
  list(): Promise<ErasureView[]>;
  /** Takes up what a crash left open. Resolves when nothing is left, or what is left has to wait. */
  resume(): Promise<void>;
  stop(): Promise<void>;
}
