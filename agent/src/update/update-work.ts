/** The slow effects: each is performed through the ports and ends in the event that tells the machine how it went. */
import { asSkeinError, type ErrorCode, type SkeinError } from '@skein/protocol/errors.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import { downloadBlobs } from './blob-download.ts';
import { releaseOf, stagedModel } from './release.ts';
import type { Fault, PhaseName, Release, UpdateEffect, UpdateEvent, UpdateState } from './state.ts';
import type { UpdateParts } from './update-parts.ts';

type EffectOf<T extends UpdateEffect['type']> = Extract<UpdateEffect, { type: T }>;
export type SlowEffect = EffectOf<'fetch' | 'download' | 'preflight' | 'activate' | 'deactivate' | 'prune'>;

export class UpdateWork {
  /** What was loaded last under each name. */
  readonly running = new Map<string, Release>();
  readonly #parts: UpdateParts;
  readonly #stopping: AbortSignal;
  readonly #stateOf: (model: string) => UpdateState | undefined;
  #announced = '';

  constructor(
    parts: UpdateParts,
    stopping: AbortSignal,
    stateOf: (model: string) => UpdateState | undefined,
  ) {
    this.#parts = parts;
    this.#stopping = stopping;
    this.#stateOf = stateOf;
  }

  /** undefined: nobody waits for the outcome any more. Never rejects. */
  async perform(model: string, effect: SlowEffect): Promise<UpdateEvent | undefined> {
    switch (effect.type) {
      case 'fetch':
        return this.#fetch(model, effect);
      case 'download':
        return this.#download(model, effect);
      case 'preflight':
        return this.#preflight(model, effect);
      case 'activate':
        return this.#activate(model, effect);
      case 'deactivate':
        this.running.delete(model);
        await this.#parts.runtime.deactivate(model).catch((e) => this.#parts.log.error(String(e)));
        return undefined;
      case 'prune':
        return undefined;
    }
  }

  /** The `update` message, when it says something new. */
  announce(state: UpdateState, percentage: number | null = null): void {
    const { phase } = state;
    const installed = this.running.get(state.model)?.version ?? state.committed?.version ?? null;
    const message: UpdateMessage = {
      installed_version: installed,
      latest_version: phase.name === 'idle' ? installed : phase.agreed.order.version,
      in_progress: phase.name === 'idle' ? 0 : 1,
      update_percentage: phase.name === 'idle' ? null : (percentage ?? PERCENT[phase.name]),
    };
    const text = `${state.model} ${JSON.stringify(message)}`;
    if (text === this.#announced) return;
    this.#announced = text;
    this.#parts.progress?.(message, state.model);
  }

  async #fetch(model: string, { agreed }: EffectOf<'fetch'>): Promise<UpdateEvent | undefined> {
    const order = agreed.order.id;
    const { sha256, sizeBytes } = agreed.target;
    return this.#guarded(order, 'fetching', async () => {
      const wanted = [{ sha256, size: sizeBytes }];
      if (!(await this.#bring(model, order, 'fetching', wanted))) return undefined;
      return { type: 'fetched', order, release: releaseOf(agreed, await this.#parts.slots.read(sha256)) };
    });
  }

  async #download(model: string, { order, release }: EffectOf<'download'>): Promise<UpdateEvent | undefined> {
    return this.#guarded(order, 'downloading', async () => {
      const whole = await this.#bring(model, order, 'downloading', [release.model, release.golden]);
      return whole ? { type: 'downloaded', order } : undefined;
    });
  }

  async #preflight(
    model: string,
    { order, release }: EffectOf<'preflight'>,
  ): Promise<UpdateEvent | undefined> {
    return this.#guarded(order, 'preflight', async () => {
      // A resumed preflight may find that the disk lost a blob; then it is brought again first.
      const blobs = [release.manifest, release.model, release.golden];
      if (!(await this.#bring(model, order, 'preflight', blobs))) return undefined;
      const staged = await stagedModel(this.#parts.slots, release);
      const verdict = await this.#parts.preflight.run(staged, this.#stopping);
      if (verdict.code === 'BLOB_MISMATCH') await this.#parts.slots.discard(release.model.sha256);
      return { type: 'preflighted', order, verdict };
    });
  }

  async #activate(model: string, effect: EffectOf<'activate'>): Promise<UpdateEvent | undefined> {
    const { order, purpose, release } = effect;
    if (purpose === 'trial' && !this.#wanted(model, order, 'activating')) return undefined;
    const before = this.#parts.runtime.stats(model);
    try {
      const { loaded } = await this.#parts.runtime.activate(await stagedModel(this.#parts.slots, release));
      this.running.set(model, release);
      return { type: 'activated', purpose, order, loaded, before };
    } catch (thrown) {
      return {
        type: 'activateFailed',
        purpose,
        order,
        fault: faultOf(asSkeinError(thrown, 'MODEL_CRASHED')),
      };
    }
  }

  /** What is missing of `blobs`; false when the order is over. */
  #bring(
    model: string,
    order: string,
    phase: PhaseName,
    blobs: { sha256: string; size: Bytes }[],
  ): Promise<boolean> {
    return downloadBlobs(this.#parts.fetcher, this.#parts.slots, blobs, {
      stale: () => !this.#wanted(model, order, phase),
      progress: (done, total) => {
        const state = this.#stateOf(model);
        const share = Math.floor((done / Math.max(1, total)) * 70);
        if (state && phase === 'downloading') this.announce(state, PERCENT.downloading + share);
      },
    });
  }

  #wanted(model: string, order: string, name: PhaseName): boolean {
    const phase = this.#stateOf(model)?.phase;
    if (this.#stopping.aborted || phase?.name !== name) return false;
    return phase.name !== 'idle' && phase.agreed.order.id === order;
  }

  async #guarded(
    order: string,
    phase: 'fetching' | 'downloading' | 'preflight',
    work: () => Promise<UpdateEvent | undefined>,
  ): Promise<UpdateEvent | undefined> {
    try {
      return await work();
    } catch (thrown) {
      const fault = faultOf(asSkeinError(thrown));
      this.#parts.log.warn(`update ${phase} failed`, { order, code: fault.code, error: fault.message });
      return { type: 'failed', order, phase, fault };
    }
  }
}

/** Where in the whole a phase begins, in percent. */
const PERCENT: Record<Exclude<PhaseName, 'idle'>, number> = {
  fetching: 0,
  downloading: 5,
  preflight: 75,
  ready: 85,
  activating: 90,
  probation: 92,
  reverting: 98,
};

/** The other side sent something wrong, which another try may mend. */
const DOUBTFUL: readonly ErrorCode[] = [
  'BLOB_MISMATCH',
  'BLOB_TOO_LARGE',
  'DOWNLOAD_FAILED',
  'NOT_FOUND',
  'INTERNAL',
];

function faultOf(error: SkeinError): Fault {
  const retry = error.blame === 'environment' ? 'always' : DOUBTFUL.includes(error.code) ? 'few' : 'never';
  return { code: error.code, message: error.message, retry };
}
