/** Everything that updating reaches through ports: what the runner, its machines and their work share. */
import type { UpdateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import type { Fetcher, ModelRuntime, Preflight, ReportSink, Slots, Trust, UpdateStore } from './ports.ts';

export interface UpdateParts {
  fetcher: Fetcher;
  slots: Slots;
  trust: Trust;
  preflight: Preflight;
  runtime: ModelRuntime;
  store: UpdateStore;
  reports: ReportSink;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  /** The `update` message of the model that moved last, whenever it changes. */
  progress?(message: UpdateMessage, model: string): void;
}
