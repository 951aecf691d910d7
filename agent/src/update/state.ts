/**
 * What one model's update machine remembers, and what may happen to it. The state is plain JSON: it is saved before
 * any effect of the step that made it is performed, so a crash finds either the old step or the whole new one.
 *
 * Bounds: 64 ended orders, 64 quarantined hashes, 64 reports not yet handed over (milestones go first).
 * No time in here survives a restart: monotonic times are only read in phases that {@link resumeUpdate} leaves.
 */
import type { UpdateOutcome, UpdateReport } from '@skein/protocol/records.ts';
import type { Bytes, Millis, Sha256Hex } from '@skein/protocol/units.ts';
import type { Hold } from './gate.ts';
import type { AgreedOrder, Barred, PreflightVerdict, ProbationStats, TrustedView } from './ports.ts';
import type { Yardstick } from './probation.ts';
import type { Candidate, Choice } from './variants.ts';

/** A version whose blobs are named completely: enough to load it from disk with no network. */
export interface Release {
  version: string;
  /** Its counter, which floors are compared with; absent in what an older agent installed. */
  release?: number;
  manifest: { sha256: Sha256Hex; size: Bytes };
  /** Version of the agent that found the manifest to be of its schema; absent in what an older agent installed. */
  checkedBy?: string;
  variant: string;
  model: { sha256: Sha256Hex; size: Bytes };
  golden: { sha256: Sha256Hex; size: Bytes };
  /** The order that brought it, for reports about it later. */
  order: { id: string; rollout: string };
  /** Backend of the variant; absent: the agent's own. */
  backend?: string;
  /** Why this variant, for people. */
  reason?: string;
  /** Before the choice: what else can run here, in order of trial, and whether to measure them against each other. */
  others?: Candidate[];
  measure?: { key: string; left: { variant: string; why: string }[] };
  /** After it: the agent's own variant that runs while the chosen one's backend is not usable. */
  standIn?: Candidate;
}

/** What preflight proved: the hash that was loaded there and the golden vectors that passed. */
export type Proof = Pick<PreflightVerdict, 'loaded' | 'golden' | 'proof'>;

interface OnOrder {
  agreed: AgreedOrder;
  /** Tries of this phase that failed, for the backoff. */
  attempt: number;
  /** Those of them that may be the other side's fault. */
  doubts: number;
  /** What keeps it, or kept the last try, from going on; for people. */
  trouble?: { code: string; detail: string };
}
interface OnRelease extends OnOrder {
  release: Release;
}
interface OnTrial extends OnRelease, Yardstick {
  proof: Proof;
  /** Raised before each load, lowered by a clean stop: what is left after a crash are failed starts. */
  starts: number;
}

export type Phase =
  | { name: 'idle' }
  | ({ name: 'fetching' } & OnOrder)
  | ({ name: 'downloading' } & OnRelease)
  | ({ name: 'preflight' } & OnRelease)
  /** Ready to run, waiting for orders that are fresh enough. */
  | ({ name: 'ready' } & OnTrial)
  | ({ name: 'activating' } & OnTrial)
  | ({ name: 'probation'; loaded: Sha256Hex; sinceMono: Millis } & OnTrial)
  | ({ name: 'reverting'; ending: Ending; stats: ProbationStats } & OnTrial);

export type PhaseName = Phase['name'];
export type PhaseOf<N extends PhaseName> = Extract<Phase, { name: N }>;
export type BusyPhase = Exclude<Phase, { name: 'idle' }>;

/** How an order ended, and why. */
export interface Ending {
  outcome: Extract<UpdateOutcome, 'committed' | 'unproven' | 'refused' | 'reverted' | 'cancelled'>;
  reason: string | null;
  detail: string | null;
}

/** The last order that ended, for people. */
export interface LastEnding extends Ending {
  order: string;
  version: string;
}

export interface UpdateState {
  model: string;
  /** The last good one: what a start loads. */
  committed: Release | null;
  /** The one before; kept on disk for a start that fails. */
  previous: Release | null;
  /** Starts of `committed` since the last one that loaded. */
  bootStarts: number;
  /** Tries to load `committed` that this machine or its disk spoiled, for the backoff. */
  bootTries?: number;
  /** The variant that was measured as the fastest here. */
  choice?: Choice | null;
  phase: Phase;
  /** Order ids that are over: never carried out again. */
  ended: { order: string; outcome: Ending['outcome'] }[];
  last?: LastEnding | null;
  quarantined: { sha256: Sha256Hex; code: string }[];
  /** Made, and not yet handed to the outbox. */
  reports: UpdateReport[];
}

export const troubleText = ({ code, detail }: { code: string; detail: string }): string =>
  `${code}: ${detail}`.slice(0, 300);

/** Why something loads: a start, a new model's trial, or the return to the last good one. */
export type Purpose = 'boot' | 'trial' | 'revert';

export interface Fault {
  code: string;
  message: string;
  /** always: the network or this machine, time will tell. few: the other side may be wrong. never: it is the model. */
  retry: 'always' | 'few' | 'never';
}

/** `order` names whom an event is for; one that belongs to an order that is over is ignored. */
export type UpdateEvent =
  | { type: 'orders'; view: OrdersSeen }
  | { type: 'fetched'; order: string; release: Release }
  | { type: 'downloaded'; order: string }
  /** `release` and `choice`: which of the candidates it was, when there were several. */
  | { type: 'preflighted'; order: string; verdict: PreflightVerdict; release?: Release; choice?: Choice }
  | {
      type: 'activated';
      purpose: Purpose;
      order: string;
      loaded: Sha256Hex;
      before: ProbationStats;
      /** Memory that the loaded model may take. */
      needs?: Bytes;
      /** The stand-in runs: the chosen variant's backend is not usable. */
      standIn?: boolean;
    }
  | {
      type: 'failed';
      order: string;
      phase: 'fetching' | 'downloading' | 'preflight';
      fault: Fault;
      progressed?: boolean;
    }
  /** Not now: outside a maintenance window, or over a metered link. */
  | { type: 'deferred'; order: string; phase: 'fetching' | 'downloading' | 'preflight'; hold: Hold }
  /** `lost`: the disk did not keep all of it; what is damaged was removed. */
  | { type: 'activateFailed'; purpose: Purpose; order: string; fault: Fault; lost?: boolean }
  | { type: 'retry'; order: string }
  /** Load the last good release again: its backend went away, or may be back. */
  | { type: 'bootAgain' }
  | { type: 'judged'; order: string; stats: ProbationStats }
  | { type: 'reported'; id: string }
  | { type: 'stopping' };

/** This model's part of a trusted view. */
export interface OrdersSeen {
  agreed: AgreedOrder | null;
  refused: TrustedView['refused'][number] | null;
  refreshedMono: Millis;
  /** Installed versions that offline keys speak against. */
  barred?: readonly Barred[];
  /** Why nothing may be installed just now. */
  hold?: Hold | undefined;
}

export type UpdateEffect =
  /** Get the manifest, check it against the order, choose a variant. → fetched | failed */
  | { type: 'fetch'; agreed: AgreedOrder }
  /** → downloaded | failed */
  | { type: 'download'; order: string; release: Release }
  /** → preflighted | failed */
  | { type: 'preflight'; order: string; release: Release }
  /** In turn, one after the other. → activated | activateFailed */
  | { type: 'activate'; purpose: Purpose; order: string; release: Release }
  | { type: 'deactivate' }
  /** Fetch what the disk lost of the last good release; the one before runs meanwhile. → bootAgain | activateFailed */
  | { type: 'mend'; order: string; release: Release; before: Release | null; attempt: number }
  /** Wait with backoff. → retry */
  | { type: 'backoff'; order: string; attempt: number }
  /** Wait until it may go on. → retry */
  | { type: 'defer'; order: string; afterMs: Millis }
  /** The same for the last good release. → bootAgain */
  | { type: 'bootLater'; attempt: number }
  /** Look at the running model's figures later. → judged */
  | { type: 'judge'; order: string; afterMs: Millis }
  /** Ask the server for fresh orders. → orders */
  | { type: 'refresh' }
  /** Look again at the orders that are known. → orders */
  | { type: 'look' }
  /** → reported */
  | { type: 'report'; report: UpdateReport }
  | { type: 'prune' };

export interface Step {
  state: UpdateState;
  effects: UpdateEffect[];
}

export const newUpdateState = (model: string): UpdateState => ({
  model,
  committed: null,
  previous: null,
  bootStarts: 0,
  phase: { name: 'idle' },
  ended: [],
  quarantined: [],
  reports: [],
});

/** Every blob this state may still need; all others may be pruned. */
export function blobsKeptBy(state: UpdateState): Sha256Hex[] {
  const releases = [state.committed, state.previous, 'release' in state.phase ? state.phase.release : null];
  const kept = releases.flatMap((r) => (r ? blobsOfRelease(r) : []));
  return state.phase.name === 'idle' ? kept : [...kept, state.phase.agreed.target.sha256];
}

const blobsOfRelease = ({ manifest, model, golden, standIn, others = [] }: Release): Sha256Hex[] => [
  ...[manifest.sha256, model.sha256, golden.sha256],
  ...[...others, ...(standIn ? [standIn] : [])].map((candidate) => candidate.model.sha256),
];
