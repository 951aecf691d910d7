/**
 * What is installed and must not run any more. A version that offline keys have withdrawn (the signed targets no longer
 * list it) is left at once, for the one before it, and when there is none that may run, for nothing. A release below the
 * signed floor is nothing to go back to; one that runs when the floor is raised runs on until its successor is proven,
 * for raising a floor must not stop a fleet.
 *
 * Only a signed word bars: metadata that is missing, expired or can not be verified says nothing, so a server that
 * withholds it stops no model.
 */
import { manifestPath } from '@skein/protocol/manifest.ts';
import { type ReleaseFloors, readModelTarget } from '@skein/protocol/trust/director.ts';
import { revokedIn } from '@skein/protocol/trust/revocation.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import { findStored, type ImageSide } from './agreement.ts';
import type { Barred, InstalledVersion, UpdateStore } from './ports.ts';
import { fallenReport, withReport } from './reports.ts';
import type { Phase, PhaseName, Release, Step, UpdateEffect, UpdateState } from './state.ts';

/** The last good releases and those before them, of all models. What can not be read has nothing installed. */
export function installedIn(store: Pick<UpdateStore, 'models' | 'load'>): InstalledVersion[] {
  return store.models().flatMap((model) => {
    const state = readState(store.load(model));
    return [state?.committed, state?.previous].flatMap((release) =>
      release ? [{ model, version: release.version, manifestSha256: release.manifest.sha256 }] : [],
    );
  });
}

function readState(saved: string | undefined): UpdateState | undefined {
  try {
    return saved === undefined ? undefined : (JSON.parse(saved) as UpdateState);
  } catch {
    return undefined;
  }
}

/** Each installed version that verified targets speak against. */
export const barredAmong = (
  image: ImageSide,
  floors: ReleaseFloors,
  installed: readonly InstalledVersion[],
): Barred[] => installed.flatMap((one) => judge(image, floors, one) ?? []);

function judge(image: ImageSide, floors: ReleaseFloors, one: InstalledVersion): Barred | undefined {
  const name = `${one.model}@${one.version}`;
  const path = manifestPath(one.model, one.version);
  let file: ReturnType<typeof findStored>;
  try {
    file = findStored(image, path);
  } catch {
    // A role on the way is not here: nobody has spoken.
    return undefined;
  }
  const custom = file && readModelTarget(path, file);
  if (!custom || file?.hashes.sha256 !== one.manifestSha256) {
    const said = revokedIn(image.targets).find((r) => r.model === one.model && r.version === one.version);
    const why = said?.reason ? `: ${said.reason}` : '';
    return { ...one, code: 'MODEL_REVOKED', message: `${name} was withdrawn by offline keys${why}` };
  }
  const floor = Object.hasOwn(floors, one.model) ? floors[one.model]! : 0;
  if (custom.release >= floor) return undefined;
  const message = `${name} is release ${custom.release}, the signed floor is ${floor}`;
  return { ...one, code: 'BELOW_FLOOR', message };
}

/** A trial is judged by its own order; until it ends it decides what runs. */
const ON_TRIAL: readonly PhaseName[] = ['activating', 'probation'];

/** The state without what is barred, and a report of it; the same state when nothing is. Nothing is performed. */
export function withoutBarred(state: UpdateState, barred: readonly Barred[]): UpdateState {
  const against = (release: Release | null): Barred | undefined =>
    release ? barred.find((b) => isSame(b, state.model, release.manifest.sha256)) : undefined;
  // A return that is under way ends first; then this is asked again.
  if (barred.length === 0 || state.phase.name === 'reverting') return state;
  const { committed, previous } = state;
  const [why, before] = [against(committed), against(previous) ? null : previous];
  if (why?.code !== 'MODEL_REVOKED' || !committed)
    return before === previous ? state : { ...state, previous: before };
  const back = before ? `back to ${before.version}` : 'there is no version to go back to';
  const report = fallenReport(state.model, committed, why.code, `${why.message}; ${back}`);
  const told = withReport(state, report).state;
  return { ...told, committed: before, previous: null, bootStarts: 0 };
}

const isSame = (barred: Barred, model: string, manifestSha256: Sha256Hex): boolean =>
  barred.model === model && barred.manifestSha256 === manifestSha256;

/** What counts when no document can be read: floors are kept apart from them. Only the way back is closed. */
export function withoutFallen(state: UpdateState, floors: ReleaseFloors): UpdateState {
  const floor = Object.hasOwn(floors, state.model) ? floors[state.model]! : 0;
  const { previous } = state;
  return previous?.release !== undefined && previous.release < floor ? { ...state, previous: null } : state;
}

/** The same while running: what may run is loaded in place of what may not. */
export function leaveBarred(state: UpdateState, barred: readonly Barred[]): Step {
  const left = withoutBarred(state, barred);
  if (left === state) return { state, effects: [] };
  const reports = left.reports
    .filter((report) => !state.reports.includes(report))
    .map((report) => ({ type: 'report' as const, report }));
  const tidy: UpdateEffect[] = [...reports, { type: 'prune' }];
  if (left.committed === state.committed || ON_TRIAL.includes(state.phase.name))
    return { state: left, effects: tidy };
  const { phase, work } = makeWay(left.phase);
  const release = left.committed;
  if (!release) return { state: { ...left, phase }, effects: [{ type: 'deactivate' }, ...tidy, ...work] };
  const order = release.order.id;
  return {
    state: { ...left, phase, bootStarts: 1 },
    effects: [{ type: 'activate', purpose: 'boot', order, release }, ...tidy, ...work],
  };
}

/** Slow work stands in one line: a download that is under way ends at its next chunk and is taken up again behind. */
function makeWay(phase: Phase): { phase: Phase; work: UpdateEffect[] } {
  if (phase.name !== 'downloading' && phase.name !== 'preflight') return { phase, work: [] };
  const { agreed } = phase;
  return {
    phase: { name: 'fetching', agreed, attempt: 0, doubts: 0 },
    work: [{ type: 'fetch', agreed }],
  };
}
