/** The slow effects: each is performed through the ports and ends in the event that tells the machine how it went. */

import { asSkeinError, type ErrorCode, SkeinError } from '@skein/protocol/errors.ts';
import type { Manifest } from '@skein/protocol/manifest.ts';
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Order } from '@skein/protocol/orders.ts';
import type { Bytes } from '@skein/protocol/units.ts';
import type { BackendFacts } from '../inference/backend.ts';
import { ANYTHING } from '../inference/backends.ts';
import { downloadBlobs, type Sources } from './blob-download.ts';
import { BlobSupply, serverSource } from './blob-supply.ts';
import { blobsToRun, dropDamaged } from './damaged-release.ts';
import type { BlobSize } from './download-plan.ts';
import { Flights } from './flights.ts';
import { Deferred } from './gate.ts';
import type { Slots } from './ports.ts';
import { manifestOf, neededBytes, releaseOf, stagedModel, stagedVariant } from './release.ts';
import {
  type Fault,
  type Phase,
  type PhaseName,
  type Purpose,
  type Release,
  troubleText,
  type UpdateEffect,
  type UpdateEvent,
  type UpdateState,
} from './state.ts';
import { bringCandidates, tryVariants } from './try-variants.ts';
import type { UpdateParts } from './update-parts.ts';
import { planVariants } from './variants.ts';

type WorkPhase = Extract<UpdateEvent, { type: 'failed' }>['phase'];
type EffectOf<T extends UpdateEffect['type']> = Extract<UpdateEffect, { type: T }>;
export type SlowEffect = EffectOf<
  'fetch' | 'download' | 'preflight' | 'activate' | 'mend' | 'deactivate' | 'prune'
>;

export class UpdateWork {
  /** What was loaded last under each name. */
  readonly running = new Map<string, Release>();
  /** Models that run as their stand-in. */
  readonly standingIn = new Set<string>();
  /** Models that a backend compiles now, with the share done. */
  readonly compiling = new Map<string, number | null>();
  readonly #parts: UpdateParts;
  readonly #sources: Sources;
  readonly #stopping: AbortSignal;
  readonly #stateOf: (model: string) => UpdateState | undefined;
  /** Orders whose work brought bytes. */
  readonly #progressed = new Set<string>();
  #announced = '';

  constructor(
    parts: UpdateParts,
    stopping: AbortSignal,
    stateOf: (model: string) => UpdateState | undefined,
  ) {
    this.#parts = parts;
    const server = [serverSource(parts.fetcher)];
    this.#sources = {
      supply: parts.supply ?? new BlobSupply({ ...parts, sources: () => server }),
      flights: parts.flights ?? new Flights(),
      deltas: parts.deltas,
    };
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
      case 'mend':
        return this.#mend(model, effect);
      case 'deactivate':
        this.running.delete(model);
        this.standingIn.delete(model);
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
      ...waitingOf(phase, this.moves(phase)),
      ...(this.compiling.has(state.model)
        ? { compiling: Math.round((this.compiling.get(state.model) ?? 0) * 100) }
        : {}),
    };
    const text = `${state.model} ${JSON.stringify(message)}`;
    if (text === this.#announced) return;
    this.#announced = text;
    this.#parts.progress?.(message, state.model);
  }

  /** Bytes came since the last fault: what kept it is over. */
  moves(phase: Phase): boolean {
    return phase.name !== 'idle' && this.#progressed.has(phase.agreed.order.id);
  }

  async #fetch(model: string, { agreed }: EffectOf<'fetch'>): Promise<UpdateEvent | undefined> {
    const order = agreed.order.id;
    const { sha256, sizeBytes } = agreed.target;
    return this.#guarded(order, 'fetching', async () => {
      const wanted = [{ sha256, size: sizeBytes }];
      if (!(await this.#bring(model, order, 'fetching', wanted))) return undefined;
      const bytes = await this.#parts.slots.read(sha256);
      const manifest = manifestOf(agreed, bytes);
      const plan = await this.#plan(model, manifest);
      return {
        type: 'fetched',
        order,
        release: releaseOf(agreed, manifest, bytes.length, plan, this.#parts.agent),
      };
    });
  }

  /** Which variants can run here: asked before any of them is downloaded. */
  async #plan(model: string, { variants }: Manifest) {
    const { backends, preflight, scratch } = this.#parts;
    const facts = new Map<string, BackendFacts>();
    for (const { backend } of variants)
      if (!facts.has(backend)) facts.set(backend, (await backends?.facts(backend)) ?? ANYTHING);
    const { choice = null, quarantined = [] } = this.#stateOf(model) ?? {};
    const barred = new Set(quarantined.map(({ sha256 }) => sha256));
    // With nothing else to take, the machine says why it refuses.
    const some = variants.some(({ file }) => !barred.has(file.sha256));
    const roomy = scratch !== undefined && preflight.measure !== undefined;
    return planVariants(variants, facts, choice, some ? barred : new Set(), roomy);
  }

  async #download(model: string, { order, release }: EffectOf<'download'>): Promise<UpdateEvent | undefined> {
    return this.#guarded(order, 'downloading', async () => {
      const { scratch } = this.#parts;
      const bring = (slots: Slots, blobs: BlobSize[]) =>
        this.#bring(model, order, 'downloading', blobs, slots);
      if (release.measure && scratch) {
        const golden = await bring(this.#parts.slots, [release.golden]);
        const brought = golden && (await bringCandidates({ parts: this.#parts, bring }, release));
        return brought ? { type: 'downloaded', order } : undefined;
      }
      const whole = await bring(this.#parts.slots, [release.model, release.golden]);
      return whole ? { type: 'downloaded', order } : undefined;
    });
  }

  async #preflight(
    model: string,
    { order, release }: EffectOf<'preflight'>,
  ): Promise<UpdateEvent | undefined> {
    return this.#guarded(order, 'preflight', async () => {
      this.#holdBack(model, 'install');
      // A resumed preflight may find that the disk lost a blob; then it is brought again first.
      const bring = (slots: Slots, blobs: BlobSize[]) => this.#bring(model, order, 'preflight', blobs, slots);
      if (!(await bring(this.#parts.slots, [release.manifest, release.golden]))) return undefined;
      const compiling = (share: number | null) => this.#compiles(model, share);
      const deps = { parts: this.#parts, stopping: this.#stopping, bring, compiling };
      const trial = await tryVariants(deps, release).finally(() => this.#compiled(model));
      return trial && { type: 'preflighted', order, ...trial };
    });
  }

  #compiles(model: string, share: number | null): void {
    this.compiling.set(model, share);
    const state = this.#stateOf(model);
    if (state) this.announce(state);
  }

  #compiled(model: string): void {
    if (!this.compiling.delete(model)) return;
    const state = this.#stateOf(model);
    if (state) this.announce(state);
  }

  async #activate(model: string, effect: EffectOf<'activate'>): Promise<UpdateEvent | undefined> {
    const { order, purpose, release } = effect;
    if (purpose === 'trial' && !this.#wanted(model, order, 'activating')) return undefined;
    const before = this.#parts.runtime.stats(model);
    try {
      const { loaded, needs, standIn } = await this.#load(model, release, purpose);
      this.running.set(model, release);
      return { type: 'activated', purpose, order, loaded, before, needs, ...(standIn ? { standIn } : {}) };
    } catch (thrown) {
      const fault = faultOf(asSkeinError(thrown, 'MODEL_CRASHED'));
      const lost =
        fault.retry !== 'always' &&
        (await dropDamaged(this.#parts.slots, release, fault.code).catch(() => false));
      return { type: 'activateFailed', purpose, order, fault, ...(lost ? { lost } : {}) };
    } finally {
      this.#compiled(model);
    }
  }

  async #mend(model: string, effect: EffectOf<'mend'>): Promise<UpdateEvent | undefined> {
    const { order, release, before, attempt } = effect;
    const { log, slots, gate } = this.#parts;
    if (before && !this.running.has(model)) {
      const meanwhile = { purpose: 'boot', order: before.order.id, release: before } as const;
      await this.#activate(model, { type: 'activate', ...meanwhile });
    }
    const { version } = release;
    log.warn('the disk lost some of the last good model; it is fetched again', { model, version });
    try {
      const hold = gate?.hold({}, 'download');
      if (hold) throw new Deferred(hold);
      const stale = () => this.#stopping.aborted || this.#stateOf(model)?.committed?.order.id !== order;
      if (!(await downloadBlobs(this.#sources, slots, blobsToRun(release), { stale, progress() {} })))
        return undefined;
      // A disk that loses it each time is not asked in a hot loop.
      if (attempt === 1) return { type: 'bootAgain' };
      throw new SkeinError('DISK_FAILED', 'the disk lost it more than once');
    } catch (thrown) {
      const fault = { ...faultOf(asSkeinError(thrown)), retry: 'always' as const };
      log.warn('the last good model is not whole yet', { model, code: fault.code, error: fault.message });
      return { type: 'activateFailed', purpose: 'boot', order, fault };
    }
  }

  /** A last good release whose backend is not usable runs as its stand-in; a trial does not: it proves the variant. */
  async #load(
    model: string,
    release: Release,
    purpose: Purpose,
  ): Promise<{ loaded: string; needs: Bytes; standIn: boolean }> {
    const { agent, runtime, slots } = this.#parts;
    const compiling = (share: number | null) => this.#compiles(model, share);
    try {
      const staged = await stagedModel(slots, release, agent);
      const { loaded } = await runtime.activate(staged, compiling);
      if (this.standingIn.delete(model)) this.#parts.standIn?.(model, null);
      return { loaded, needs: neededBytes(staged), standIn: false };
    } catch (thrown) {
      const { blame, code, message } = asSkeinError(thrown, 'MODEL_CRASHED');
      const { standIn } = release;
      if (!standIn || purpose === 'trial' || blame !== 'environment') throw thrown;
      const why = `${standIn.variant} instead of ${release.variant}: ${code}: ${message}`;
      this.#parts.standIn?.(model, why);
      // It runs already: swapping it for itself would only lose its figures.
      const path = slots.pathOf(standIn.model.sha256);
      const staged = await stagedVariant(slots, release, standIn, path, agent);
      const needs = neededBytes(staged);
      if (this.standingIn.has(model)) return { loaded: standIn.model.sha256, needs, standIn: true };
      const { loaded } = await runtime.activate(staged);
      this.standingIn.add(model);
      return { loaded, needs, standIn: true };
    }
  }

  /** What is missing of `blobs`; false when the order is over. @throws Deferred outside what the gate allows */
  #bring(
    model: string,
    order: string,
    phase: WorkPhase,
    blobs: BlobSize[],
    slots: Slots = this.#parts.slots,
  ): Promise<boolean> {
    const rate = this.#orderOf(model)?.transfer?.rate;
    return downloadBlobs(this.#sources, slots, blobs, {
      stale: () => !this.#wanted(model, order, phase),
      hold: () => this.#holdBack(model, 'download'),
      ...(rate === undefined ? {} : { rate }),
      progress: (done, total) => {
        const state = this.#stateOf(model);
        const share = Math.floor((done / Math.max(1, total)) * 70);
        this.#progressed.add(order);
        if (state && phase === 'downloading') this.announce(state, PERCENT.downloading + share);
      },
    });
  }

  #orderOf(model: string): Order | undefined {
    const phase = this.#stateOf(model)?.phase;
    return phase && phase.name !== 'idle' ? phase.agreed.order : undefined;
  }

  #holdBack(model: string, what: 'download' | 'install'): void {
    const order = this.#orderOf(model);
    const hold = order && this.#parts.gate?.hold(order, what);
    if (hold) throw new Deferred(hold);
  }

  #wanted(model: string, order: string, name: PhaseName): boolean {
    const phase = this.#stateOf(model)?.phase;
    if (this.#stopping.aborted || phase?.name !== name) return false;
    return phase.name !== 'idle' && phase.agreed.order.id === order;
  }

  async #guarded(
    order: string,
    phase: WorkPhase,
    work: () => Promise<UpdateEvent | undefined>,
  ): Promise<UpdateEvent | undefined> {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof Deferred) return { type: 'deferred', order, phase, hold: thrown.hold };
      const fault = faultOf(asSkeinError(thrown));
      this.#parts.log.warn(`update ${phase} failed`, { order, code: fault.code, error: fault.message });
      return { type: 'failed', order, phase, fault, progressed: this.#progressed.has(order) };
    } finally {
      this.#progressed.delete(order);
    }
  }
}

const waitingOf = (phase: Phase, moves: boolean): Pick<UpdateMessage, 'waiting'> =>
  phase.name !== 'idle' && phase.trouble && !moves ? { waiting: troubleText(phase.trouble) } : {};

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
