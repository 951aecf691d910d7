/**
 * The preflight of a release that has several variants for this device.
 *
 * Measuring: candidates lie in `scratch` (memory), are tried one by one, and those that pass run in turns; only the winner
 * is copied to the disk, so a deployment writes one variant, however many were measured. A variant of a sidecar brings
 * the best of the agent's own along as its stand-in; then both are the payload. What does not fit into `scratch` is
 * not measured. Without measuring (a remembered choice, no room) the candidates are tried in order, each is downloaded only
 * when the one before failed, and the first that passes is taken.
 * Every step can be taken up after a crash: what is there is not fetched again, and nothing is chosen before it is saved.
 */
import { asSkeinError } from '@skein/protocol/errors.ts';
import type { Compiling } from '../inference/backend.ts';
import { Deferred } from './gate.ts';
import type { PreflightVerdict, Slots, StagedModel } from './ports.ts';
import { asChosen, stagedVariant } from './release.ts';
import type { Release } from './state.ts';
import type { UpdateParts } from './update-parts.ts';
import {
  type Candidate,
  type Choice,
  choiceReason,
  type Figure,
  fastest,
  isInProcess,
  type VariantPlan,
} from './variants.ts';

export interface Trial {
  verdict: PreflightVerdict;
  release: Release;
  choice?: Choice;
}

export interface TrialDeps {
  parts: Pick<UpdateParts, 'slots' | 'scratch' | 'preflight' | 'backends' | 'log'>;
  stopping: AbortSignal;
  /** Downloads what is missing; false: nobody wants it any more. */
  bring(slots: Slots, blobs: Candidate['model'][]): Promise<boolean>;
  compiling: Compiling;
}

interface Tried {
  candidate: Candidate;
  staged: StagedModel;
  verdict: PreflightVerdict;
}

/** What a release can be tried as, the first first. */
export const candidatesOf = ({
  variant,
  model,
  backend = 'onnxruntime',
  others = [],
}: Release): Candidate[] => [{ variant, model, backend }, ...others];

/** undefined: the order is over. @throws SkeinError of {@link Slots} and of the download */
export function tryVariants(deps: TrialDeps, release: Release): Promise<Trial | undefined> {
  return release.measure && deps.parts.scratch
    ? measureAll(deps, release, deps.parts.scratch, release.measure)
    : firstThatPasses(deps, release, release.reason ?? 'first that passes');
}

/** Those that `scratch` has room for. @throws SkeinError of the download */
export async function bringCandidates(
  deps: Pick<TrialDeps, 'bring' | 'parts'>,
  release: Release,
): Promise<Candidate[] | undefined> {
  const { scratch, log } = deps.parts;
  const brought: Candidate[] = [];
  for (const candidate of candidatesOf(release)) {
    try {
      if (!(await deps.bring(scratch!, [candidate.model]))) return undefined;
      brought.push(candidate);
    } catch (thrown) {
      const { code, message } = asSkeinError(thrown);
      if (code !== 'DISK_FULL') throw thrown;
      log.info('a variant is not measured: no room', { variant: candidate.variant, message });
    }
  }
  return brought;
}

async function measureAll(
  deps: TrialDeps,
  release: Release,
  scratch: Slots,
  { key, left }: NonNullable<Release['measure']>,
): Promise<Trial | undefined> {
  const brought = await bringCandidates(deps, release);
  if (!brought) return undefined;
  // All or nothing: the figures of some would be remembered as a choice among all.
  if (brought.length < candidatesOf(release).length) {
    await discard(scratch, brought);
    return firstThatPasses(
      deps,
      release,
      `${release.variant}: first that passes; no room in memory to measure the others`,
    );
  }
  const tried: Tried[] = [];
  for (const candidate of brought)
    tried.push(await attempt(deps, release, candidate, scratch.pathOf(candidate.model.sha256)));
  const passed = tried.filter(({ verdict }) => verdict.ok);
  if (deps.stopping.aborted || passed.length === 0) return failed(release, tried);
  const measured = passed.length > 1 ? await measure(deps, passed) : { figures: [] };
  const figures = 'figures' in measured ? measured.figures : [];
  const ids = passed.map(({ candidate }) => candidate.variant);
  const winner = passed.find(({ candidate }) => candidate.variant === fastest(ids, figures))!;
  const why =
    'failed' in measured
      ? `first that passes; measuring failed: ${measured.failed}`
      : figures.length > 0
        ? `fastest of ${ids.length} that pass`
        : 'the only one that passes';
  const chosen = await settle(
    deps,
    release,
    winner,
    passed,
    { figures, left: [...leftOf(tried), ...left], why },
    scratch,
  );
  await discard(scratch, brought);
  // What only this machine's state kept from winning would be remembered beyond that state.
  const sound = tried.every(({ verdict }) => !verdict.environment) && !('failed' in measured);
  const choice = sound ? { choice: { key, variant: winner.candidate.variant, figures } } : {};
  return { verdict: winner.verdict, release: chosen, ...choice };
}

async function measure({ parts, stopping }: TrialDeps, passed: readonly Tried[]) {
  const { preflight } = parts;
  if (!preflight.measure) return { failed: 'this device can not measure' };
  return preflight.measure(
    passed.map(({ staged }) => staged),
    stopping,
  );
}

/** Candidates in order, on the disk; the next is fetched only when the one before did not pass. */
async function firstThatPasses(deps: TrialDeps, release: Release, why: string): Promise<Trial | undefined> {
  const { slots } = deps.parts;
  const tried: Tried[] = [];
  for (const candidate of candidatesOf(release)) {
    if (!(await deps.bring(slots, [candidate.model]))) return undefined;
    const one = await attempt(deps, release, candidate, slots.pathOf(candidate.model.sha256));
    tried.push(one);
    if (one.verdict.ok) {
      const told = { figures: [], left: leftOf(tried), why: 'first that passes' };
      const reason = tried.length === 1 ? why : choiceReason(candidate.variant, told);
      const chosen = { ...bare(release), ...asChosen(candidate, reason) };
      const standIn = isInProcess(candidate.backend) ? undefined : await bringStandIn(deps, release);
      if (deps.stopping.aborted) return undefined;
      return { verdict: one.verdict, release: standIn ? { ...chosen, standIn } : chosen };
    }
    if (deps.stopping.aborted) break;
  }
  return failed(release, tried);
}

/** The first of the agent's own that passes. The release does not depend on it: without one it goes without. */
async function bringStandIn(deps: TrialDeps, release: Release): Promise<Candidate | undefined> {
  const { slots, log } = deps.parts;
  for (const candidate of candidatesOf(release).filter(({ backend }) => isInProcess(backend))) {
    try {
      if (!(await deps.bring(slots, [candidate.model]))) return undefined;
      const path = slots.pathOf(candidate.model.sha256);
      if ((await attempt(deps, release, candidate, path)).verdict.ok) return candidate;
    } catch (thrown) {
      if (thrown instanceof Deferred) throw thrown;
      log.info('no stand-in', { variant: candidate.variant, why: asSkeinError(thrown).message });
    }
  }
  return undefined;
}

async function attempt(
  { parts, stopping, compiling }: TrialDeps,
  release: Release,
  candidate: Candidate,
  path: string,
): Promise<Tried> {
  const staged = await stagedVariant(parts.slots, release, candidate, path);
  const verdict = await parts.preflight.run(staged, stopping, compiling);
  const { ok, code, detail, environment } = verdict;
  if (code === 'BLOB_MISMATCH') await dropDamaged(parts, release, candidate);
  if (!ok) parts.log.warn('preflight', { variant: candidate.variant, code, detail, environment });
  if (!isInProcess(candidate.backend) && !stopping.aborted)
    parts.backends?.changed?.(candidate.backend, faultIn(verdict));
  return { candidate, staged, verdict };
}

/** Reading removes golden vectors that are damaged; if they are whole, it was the model. */
async function dropDamaged(
  { slots, scratch }: TrialDeps['parts'],
  { golden }: Release,
  { model }: Candidate,
): Promise<void> {
  if (!(await slots.read(golden.sha256).catch(() => undefined))) return;
  for (const store of [slots, scratch]) await store?.discard(model.sha256);
}

const BACKENDS = /^(BACKEND_(UNAVAILABLE|BUSY|FAULT|UNPROVEN)|DRIVER_MISMATCH)$/;
const faultIn = ({ environment, code, detail }: PreflightVerdict) =>
  environment && code !== null && BACKENDS.test(code)
    ? { code: code as 'BACKEND_UNAVAILABLE', detail: detail ?? '' }
    : null;

/** The first that is the model's own fault speaks for the release; with none, this machine is tried again. */
function failed(release: Release, tried: readonly Tried[]): Trial {
  const worst = tried.find(({ verdict }) => !verdict.environment) ?? tried[0]!;
  const environment = tried.some(({ verdict }) => verdict.environment);
  // One variant is bad, another could not be tried: that is no verdict on the release yet.
  const verdict = environment ? { ...worst.verdict, environment: true } : worst.verdict;
  return { verdict, release: { ...release, ...pick(worst.candidate) } };
}

const pick = ({ variant, model }: Candidate) => ({ variant, model });

const leftOf = (tried: readonly Tried[]): VariantPlan['left'] =>
  tried
    .filter(({ verdict }) => !verdict.ok)
    .map(({ candidate, verdict }) => ({
      variant: candidate.variant,
      why: `${verdict.code ?? 'not tried'} ${(verdict.detail ?? '').slice(0, 120)}`.trim(),
    }));

/** The winner onto the disk, and beside a sidecar's variant the first of the agent's own that passed. */
async function settle(
  { parts }: TrialDeps,
  release: Release,
  winner: Tried,
  passed: readonly Tried[],
  told: { figures: readonly Figure[]; left: VariantPlan['left']; why: string },
  scratch: Slots,
): Promise<Release> {
  const { candidate } = winner;
  const sidecars = !isInProcess(candidate.backend);
  const standIn = sidecars ? passed.find((one) => isInProcess(one.candidate.backend))?.candidate : undefined;
  for (const each of [candidate, ...(standIn ? [standIn] : [])]) await copy(scratch, parts.slots, each.model);
  const chosen = { ...bare(release), ...asChosen(candidate, choiceReason(candidate.variant, told)) };
  return standIn ? { ...chosen, standIn } : chosen;
}

/** Without what only mattered before the choice. */
function bare(release: Release): Release {
  const { others: _others, measure: _measure, backend: _backend, ...rest } = release;
  return rest;
}

async function copy(from: Slots, to: Slots, { sha256, size }: Candidate['model']): Promise<void> {
  if (await to.has(sha256)) return;
  const bytes = await from.read(sha256);
  const writer = await to.writer(sha256, size);
  let finishing = false;
  try {
    await writer.write(bytes.subarray(writer.offset));
    finishing = true;
    await writer.finish();
  } finally {
    if (!finishing) await writer.abandon();
  }
}

async function discard(scratch: Slots, candidates: readonly Candidate[]): Promise<void> {
  for (const { model } of candidates) await scratch.discard(model.sha256);
}
