/** What the agent says of itself: one snapshot that `/status`, `/metrics`, `/healthz` and the CLI are made from. */
import type { Incident, ModelInUse } from '@skein/protocol/messages.ts';
import type { Millis } from '@skein/protocol/units.ts';
import type { Metrics } from '../health/probe.ts';
import type { ShadowStatus } from '../inference/shadow.ts';
import type { StreamLedger } from '../outbox/port.ts';
import type { SinkCounts } from '../sinks/port.ts';
import type { SupervisedSource } from '../sources/supervise.ts';
import type { ProbationStats } from '../update/ports.ts';
import type { LastEnding } from '../update/state.ts';

export interface SourceStatus {
  name: string;
  kind: string;
  model: string;
  state: SupervisedSource['status'];
  readings: number;
  /** What came and was no reading: malformed, too long. */
  bad: number;
  /** Readings left out because the model was slower; of frames, those that a newer one replaced. */
  dropped: number;
  /** Since the latest reading; null before the first. */
  silentMs: Millis | null;
}

export interface ModelStatus extends ModelInUse {
  provider: string;
  /** Who vouches for `sha256`: our own runtime, a sidecar, or nobody but who sent it. */
  proof: string;
  /** Why this placement. */
  reason: string;
  stats: ProbationStats;
  /** Latest golden-vector self-inference; null before the first. */
  selfCheck: { ok: boolean; detail: string; at: Millis } | null;
}

export interface PipelineStatus {
  source: string;
  model: string;
  readings: number;
  predictions: number;
  notFinite: number;
  outputsNotFinite: number;
  picturesInvalid: number;
  /** Left out because too many were under way. */
  dropped: number;
  failures: number;
  /** Sum over all predictions. */
  latencyUs: number;
}

export interface UpdateStatus {
  model: string;
  phase: string;
  committed: string | null;
  ordered: string | null;
  /** What keeps it from going on: `CODE: words`. */
  waiting: string | null;
  /** How the last order ended here. */
  last: LastEnding | null;
  /** Why the installed variant is the one, with the figures that were measured here. */
  variant: string | null;
  figures: { variant: string; medianUs: number }[];
  /** A backend compiles the ordered model now: share done, null when it does not say; undefined: none does. */
  compiling?: number | null;
}

export interface SinkStatus extends SinkCounts {
  name: string;
  kind: string;
}

export interface AtRestStatus {
  /** False: what is encrypted is brought back into clear. */
  encrypts: boolean;
  /** For people. */
  key: string;
}

export interface AgentStatus {
  device: string;
  fleet: string;
  agentVersion: string;
  boot: string;
  ts: Millis;
  uptimeMs: Millis;
  profile: string;
  connected: boolean;
  sources: SourceStatus[];
  sinks: SinkStatus[];
  models: ModelStatus[];
  pipelines: PipelineStatus[];
  updates: UpdateStatus[];
  trust: { directorVersion: number; refreshedAt: Millis; orders: number; refused: number } | null;
  ledger: StreamLedger[];
  /** Records of at most this long are in memory only: what a power cut may take. Alarms and events are not among them. */
  lossWindowMs: Millis;
  /** Is the buffer, and are the models, encrypted on the disk, and where does the key come from? null: no key is configured. */
  atRest: AtRestStatus | null;
  incidents: Incident[];
  health: Metrics;
  shadows: ShadowStatus[];
}

/** Ready: something is loaded and every loaded model gave its golden answers lately. Live data does not matter. */
export function readiness(status: Pick<AgentStatus, 'models'>): { ready: boolean; reason: string } {
  if (status.models.length === 0)
    return { ready: false, reason: 'no model is active yet; it arrives by a rollout' };
  const untried = status.models.find((model) => model.selfCheck === null);
  if (untried) return { ready: false, reason: `${untried.name} has not been tried yet` };
  const failing = status.models.find((model) => !model.selfCheck!.ok);
  if (failing) return { ready: false, reason: `${failing.name}: ${failing.selfCheck!.detail}` };
  return { ready: true, reason: `${status.models.length} model(s) gave their golden answers` };
}
