/** Everything that updating reaches through ports: what the runner, its machines and their work share. */
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import type { Sha256Hex } from '@skein/protocol/units.ts';
import type { BackendFacts } from '../inference/backend.ts';
import type { BackendDirectory } from '../inference/backends.ts';
import type { Supply } from './blob-supply.ts';
import type { Deltas } from './delta-download.ts';
import type { Flights } from './flights.ts';
import type { Gate } from './gate.ts';
import type { Fetcher, ModelRuntime, Preflight, ReportSink, Slots, Trust, UpdateStore } from './ports.ts';

export interface Backends extends BackendDirectory {
  /** What a preflight in another process found. */
  changed?(backend: string, fault: BackendFacts['fault']): void;
}

export interface UpdateParts {
  fetcher: Fetcher;
  /** Where blobs come from; absent: from the server alone, as fast as they come. */
  supply?: Supply;
  /** Patches of what is here; absent: every blob is fetched whole. */
  deltas?: Deltas | undefined;
  /** Shared with whoever else downloads on this device. */
  flights?: Flights;
  /** Blobs that someone beside the machines still wants on the disk. */
  alsoKept?(): Iterable<Sha256Hex>;
  /** When it may download and install; absent: always. */
  gate?: Gate;
  slots: Slots;
  trust: Trust;
  preflight: Preflight;
  runtime: ModelRuntime;
  store: UpdateStore;
  reports: ReportSink;
  /** What the backends of this device are; absent: there is only the agent's own. */
  backends?: Backends;
  /** Where candidates lie while they are measured: memory, so that only the winner is written to the disk. */
  scratch?: Slots;
  /** Begins what can wait until a started device has predicted something. Absent: at once. */
  atLeisure?(task: () => void): void;
  /** Version of this agent; absent: nothing that was checked before counts as checked. */
  agent?: string;
  /** A model runs as its stand-in variant (why), or as the chosen one again (null). */
  standIn?(model: string, why: string | null): void;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** The `update` message of the model that moved last, whenever it changes. */
  progress?(message: UpdateMessage, model: string): void;
}
