/** What an agent is made of. `cli/run.ts` hands in the real parts. */
import type { SkeinError } from '@skein/protocol/errors.ts';
import type { EventMessage, HelloMessage, StateMessage, UpdateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log } from '@skein/protocol/ports.ts';
import type { Bytes, Millis } from '@skein/protocol/units.ts';
import type { GrpcApi } from './api/grpc-api.ts';
import type { LocalApi, LocalApiDeps } from './api/http-local-api.ts';
import type { OipModels } from './api/oip-models.ts';
import type { AtRestStatus } from './api/status.ts';
import type { Config } from './config/schema.ts';
import type { IncidentStore } from './health/incidents.ts';
import type { Probe } from './health/probe.ts';
import type { Identity } from './identity/identity.ts';
import type { Backends } from './inference/backends.ts';
import type { Engine } from './inference/engine.ts';
import type { Outbox } from './outbox/port.ts';
import type { Pictures } from './pipeline/pictures.ts';
import type { ConfiguredSink } from './sinks/run-sinks.ts';
import type { ConfiguredSource } from './sources/run-sources.ts';
import type { Trust } from './update/ports.ts';
import type { UpdateParts } from './update/update-parts.ts';

/** The connection, as the agent uses it: batches up and acknowledgements down run by themselves. */
export interface Uplink {
  readonly connected: boolean;
  /** Somebody looks at this device now. */
  readonly watched: boolean;
  start(): void;
  stop(): Promise<void>;
  /** Seals and sends what is committed, now. */
  send(): void;
  /** Says `hello` again: something it says changed. */
  hello(): void;
  state(message: StateMessage): void;
  event(message: EventMessage): void;
  update(message: UpdateMessage): void;
}

export interface UplinkDeps {
  hello(): HelloMessage;
  /** Signed keys that may acknowledge. */
  ackKeys(): readonly string[];
  /** Connected, or the server hints at orders of this version of the director’s. */
  ordersMayHaveChanged(announced?: number): void;
  /** A record could not be kept, a batch was refused: for people. */
  trouble(error: SkeinError): void;
  /** Another agent goes by this identity; null: there is no trace of it any more. */
  rival(detail: string | null): void;
}

/** What this device gives to others of its site. */
export interface SitePart {
  /** @param prune removes what nobody keeps any more @throws SkeinError PORT_IN_USE, DISK_FAILED */
  start(prune: () => void): Promise<void>;
  stop(): Promise<void>;
}

export interface AgentParts {
  config: Config;
  identity: Identity;
  agentVersion: string;
  runtime: string;
  hardware: HelloMessage['hardware'];
  /** Asked once the agent works: it may take seconds. */
  nameBoard(known: HelloMessage['hardware']): Promise<HelloMessage['hardware']>;
  clock: Clock;
  entropy: Entropy;
  log: Log;
  boot: string;
  sources: readonly ConfiguredSource[];
  sinks: readonly ConfiguredSink[];
  pictures: Pictures;
  probe: Probe;
  incidentStore: IncidentStore;
  engine: Engine;
  /** Servers that run models beside onnxruntime; absent: there are none. */
  backends?: Pick<Backends, 'watch' | 'facts' | 'names' | 'changed'>;
  trust: Trust;
  /** Memory of this process that is resident. */
  residentBytes(): Bytes;
  /** Highest time this device has reason to believe. */
  timeFloor(): Millis;
  update: Pick<
    UpdateParts,
    | 'fetcher'
    | 'supply'
    | 'deltas'
    | 'flights'
    | 'alsoKept'
    | 'gate'
    | 'slots'
    | 'preflight'
    | 'store'
    | 'scratch'
  >;
  /** Absent: it serves nothing. */
  site?: SitePart | undefined;
  /** Absent: what lies on the disk is in clear. */
  atRest?: AtRestStatus | undefined;
  openOutbox(trouble: (error: SkeinError) => void): Outbox;
  openUplink(outbox: Outbox, deps: UplinkDeps): Uplink;
  openApi(deps: LocalApiDeps): Promise<LocalApi>;
  /** undefined: it is off. */
  openGrpc(models: OipModels): Promise<GrpcApi | undefined>;
  /** Keeps the certificate alive. */
  startRenewal(): { stop(): void };
}
