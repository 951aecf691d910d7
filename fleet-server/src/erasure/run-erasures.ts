/**
 * Carries erasures out, one at a time: rows, retained topics, the files' search, the audit entry. Where each is, is
 * committed with what was done, so after a crash {@link Erasures.resume} goes on from there. What can not be done now
 * (the broker is away, another program reads the database) is said and tried again.
 */
import { describeError } from '@skein/protocol/errors.ts';
import type { Timer } from '@skein/protocol/ports.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import { unmask } from './identity.ts';
import type { ErasureDeps, Erasures } from './port.ts';
import { cleanFiles, rest } from './run-search.ts';
import { eraseFromRollout, eraseShared, eraseSomeRows } from './sqlite-erase.ts';
import {
  beginErasure,
  type ErasureRow,
  enter,
  erasureView,
  type Found,
  finishErasure,
  isNamed,
  listErasures,
  noteChains,
  noteRemoved,
  openErasures,
  planErasure,
  readErasure,
} from './sqlite-erasures.ts';
import { cutLog } from './sqlite-scrub.ts';

const RETRY_MS: Millis = MINUTE / 6;
const LISTED = 1_000;

export function startErasures(deps: ErasureDeps): Erasures {
  return new RunningErasures(deps);
}

class RunningErasures implements Erasures {
  readonly #deps: ErasureDeps;
  /** By pseudonym. */
  readonly #troubles = new Map<string, string>();
  #running: Promise<void> | undefined;
  #again = false;
  #timer: Timer | undefined;
  #stopped = false;
  readonly #ended = new AbortController();

  constructor(deps: ErasureDeps) {
    this.#deps = deps;
  }

  plan(device: string) {
    return planErasure(this.#deps.store, device, this.#deps.topics);
  }

  async begin(device: string, by: string) {
    const row = await beginErasure(this.#deps.store, this.#deps, device, by);
    await this.#deps.forget(device);
    void this.resume();
    return this.#view(row);
  }

  async show(pseudonym: string) {
    return this.#view(await readErasure(this.#deps.store, pseudonym));
  }

  async list() {
    return (await listErasures(this.#deps.store, LISTED)).map((row) => this.#view(row));
  }

  resume(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ended.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  #view(row: ErasureRow) {
    return erasureView(row, this.#troubles.get(row.pseudonym) ?? null);
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      for (const { pseudonym } of await openErasures(this.#deps.store)) await this.#try(pseudonym);
    }
    const { clock } = this.#deps;
    if (this.#troubles.size === 0 || this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = clock.after(RETRY_MS, () => void this.resume());
  }

  async #try(pseudonym: string): Promise<void> {
    try {
      await this.#carryOut(pseudonym);
      this.#troubles.delete(pseudonym);
    } catch (thrown) {
      this.#troubles.set(pseudonym, describeError(thrown));
      this.#deps.log.warn('erasing a device: tried again later', {
        pseudonym,
        error: describeError(thrown),
      });
    }
  }

  /** Each state from where it was left. */
  async #carryOut(pseudonym: string): Promise<void> {
    for (;;) {
      const { state, masked, chains_json } = await readErasure(this.#deps.store, pseudonym);
      if (masked === null || this.#stopped) return;
      const device = unmask(masked);
      if (state === 'erasing') await this.#eraseRows(pseudonym, device, chains_json !== null);
      else if (state === 'clearing') await this.#clearTopics(pseudonym, device);
      else await this.#search(pseudonym, device);
    }
  }

  async #eraseRows(pseudonym: string, device: string, noted: boolean): Promise<void> {
    const { store, clock, forget, settle } = this.#deps;
    await forget(device);
    if (!noted) await store.transaction().execute((tx) => noteChains(tx, pseudonym, device));
    for (let more = true; more && !this.#stopped; ) {
      const began = clock.mono();
      more = await this.#step(pseudonym, device);
      await rest(clock, clock.mono() - began);
    }
    settle();
  }

  /** False when nothing was left: then, in the same transaction, the next state begins. */
  #step(pseudonym: string, device: string): Promise<boolean> {
    const { store, eraseFromRollout: leave } = this.#deps;
    return store.transaction().execute(async (tx) => {
      // Rollouts first: they would go on to order the device about.
      let parts = await eraseFromRollout(tx, device, (inside, rollout) => leave(inside, rollout, device));
      if (parts.length === 0) parts = await eraseSomeRows(tx, device);
      if (parts.length === 0) parts = await eraseShared(tx, device, pseudonym);
      const some = parts.some(({ rows }) => rows > 0);
      if (some) await noteRemoved(tx, pseudonym, parts);
      else await enter(tx, pseudonym, 'clearing');
      return some;
    });
  }

  async #clearTopics(pseudonym: string, device: string): Promise<void> {
    const { store, clearTopics } = this.#deps;
    await clearTopics(device);
    await store.transaction().execute(async (tx) => {
      await tx.deleteFrom('pseudonyms').where('device', '=', device).execute();
      await enter(tx, pseudonym, 'searching');
    });
  }

  async #search(pseudonym: string, device: string): Promise<void> {
    const { store } = this.#deps;
    if (await isNamed(store, device)) return enter(store, pseudonym, 'erasing');
    const found = await cleanFiles(this.#deps, { pseudonym, device }, this.#ended.signal);
    await this.#finish(pseudonym, found);
  }

  async #finish(pseudonym: string, found: Found): Promise<void> {
    const { store, log } = this.#deps;
    await finishErasure(store, this.#deps, pseudonym, found);
    log.info('a device was erased', { pseudonym });
    // The masked id is in the log of changes until here; otherwise the next start cuts it.
    await cutLog(store).catch((error: Error) => log.warn('cutting the log', { error: error.message }));
  }
}
