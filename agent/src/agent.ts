/**
 * One agent at work: sources → pipelines → outbox → uplink; beside it updates, health, readiness and the local API.
 *
 * Order: the last good models are loaded first (no network needed), then the sources start, then the connection.
 * Stopping goes the other way round and ends with a commit, so what was predicted is accepted. Everything is handed in
 * by {@link AgentParts}; nothing here knows an adapter.
 */
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { EventMessage, HelloMessage, StateMessage, UpdateMessage } from '@skein/protocol/messages.ts';
import type { Clock, Entropy, Log, Timer } from '@skein/protocol/ports.ts';
import type { DriftRecord, HealthRecord, PredictionRecord, UpdateReport } from '@skein/protocol/records.ts';
import { MINUTE, type Millis } from '@skein/protocol/units.ts';
import { modelInUse, modelStatus, trustStatus, updateStatus } from './api/collect-status.ts';
import type { LocalApi, LocalApiDeps } from './api/http-local-api.ts';
import { selfCheck } from './api/self-check.ts';
import { type AgentStatus, readiness } from './api/status.ts';
import type { Config } from './config.ts';
import { type IncidentStore, type Incidents, openIncidents } from './health/incidents.ts';
import type { Probe } from './health/probe.ts';
import { reportHealth } from './health/report-health.ts';
import { judgeStanding } from './health/standing.ts';
import type { Identity } from './identity/identity.ts';
import type { Engine } from './inference/engine.ts';
import type { Outbox } from './outbox/port.ts';
import { createRecorder, type Recorder } from './run-records.ts';
import { type ConfiguredSource, type RunningSources, runSources } from './sources/run-sources.ts';
import type { Trust } from './update/ports.ts';
import { type UpdateParts, UpdateRunner } from './update/run-update.ts';

/** The connection, as the agent uses it: batches up and acknowledgements down run by themselves. */
export interface Uplink {
  readonly connected: boolean;
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
  /** Connected, or the server hints at new orders. */
  ordersMayHaveChanged(): void;
  /** A record could not be kept, a batch was refused: for people. */
  trouble(error: SkeinError): void;
}

export interface AgentParts {
  config: Config;
  identity: Identity;
  agentVersion: string;
  runtime: string;
  hardware: HelloMessage['hardware'];
  clock: Clock;
  entropy: Entropy;
  log: Log;
  boot: string;
  sources: readonly ConfiguredSource[];
  probe: Probe;
  incidentStore: IncidentStore;
  engine: Engine;
  trust: Trust;
  /** Highest time this device has reason to believe. */
  timeFloor(): Millis;
  update: Pick<UpdateParts, 'fetcher' | 'slots' | 'preflight' | 'store'>;
  openOutbox(trouble: (error: SkeinError) => void): Outbox;
  openUplink(outbox: Outbox, deps: UplinkDeps): Uplink;
  openApi(deps: LocalApiDeps): Promise<LocalApi>;
  /** Keeps the certificate alive. */
  startRenewal(): { stop(): void };
}

const STOP_WITHIN_MS: Millis = 2_500;
const QUIET_MS: Millis = 10_000;

export class Agent {
  readonly #parts: AgentParts;
  readonly #outbox: Outbox;
  readonly #uplink: Uplink;
  readonly #incidents: Incidents;
  readonly #recorder: Recorder;
  readonly #sources: RunningSources;
  readonly #updates: UpdateRunner;
  readonly #health;
  readonly #selfCheck;
  readonly #timers = new Set<Timer>();
  #renewal: { stop(): void } | undefined;
  #api: LocalApi | undefined;
  #dropped: number | undefined;
  #predictedMono = Number.NEGATIVE_INFINITY;
  #stopping: Promise<void> | undefined;

  /** Opens the outbox. @throws SkeinError DISK_FULL, DISK_FAILED */
  constructor(parts: AgentParts) {
    const { config, clock, entropy, log, boot, engine } = parts;
    this.#parts = parts;
    this.#incidents = openIncidents(clock, entropy, parts.incidentStore, (event) => this.#incident(event));
    this.#outbox = parts.openOutbox((error) => this.#trouble(error));
    this.#uplink = parts.openUplink(this.#outbox, {
      hello: () => this.#hello(),
      ackKeys: () => parts.trust.view()?.ackKeys ?? [],
      ordersMayHaveChanged: () => void this.#updates.refresh(),
      trouble: (error) => this.#trouble(error),
    });
    this.#recorder = createRecorder({
      outbox: this.#outbox,
      clock,
      log,
      boot,
      commitIntervalMs: config.outbox.commitInterval,
      send: () => this.#uplink.send(),
      trouble: (message) => this.#diskTrouble(message),
    });
    this.#sources = runSources(parts.sources, {
      engine,
      boot,
      clock,
      log,
      incidents: this.#incidents,
      onPrediction: (record) => this.#predicted(record),
      onDrift: (record) => this.#drift(record),
    });
    this.#updates = new UpdateRunner({
      ...parts.update,
      trust: parts.trust,
      clock,
      entropy,
      log,
      runtime: {
        activate: (model) => engine.activate(model).finally(() => this.#modelsChanged()),
        deactivate: (model) => engine.deactivate(model).finally(() => this.#modelsChanged()),
        stats: (model) => engine.stats(model),
      },
      reports: { report: (report) => this.#report(report) },
      progress: (message) => this.#uplink.update(message),
    });
    this.#health = reportHealth(
      healthOptions(config, boot),
      clock,
      parts.probe,
      this.#incidents,
      (record) => {
        this.#recorder.health(record);
        this.#healthState(record);
      },
    );
    this.#selfCheck = selfCheck({
      models: () => engine.models(),
      infer: (model, inputs) => engine.probe(model, inputs),
      read: (sha256) => parts.update.slots.read(sha256),
      clock,
    });
  }

  get apiUrl(): string {
    return this.#api?.url ?? '';
  }

  /** @throws SkeinError PORT_IN_USE; nothing runs then. */
  async start(): Promise<void> {
    const { config, engine } = this.#parts;
    this.#api = await this.#parts.openApi({
      status: () => this.status(),
      models: {
        version: this.#parts.agentVersion,
        ready: () => readiness(this.status()).ready,
        current: (model) => engine.current(model),
        modelReady: (model) => this.#modelReady(model),
        predict: (model, inputs) => engine.predict(model, inputs),
      },
    });
    this.#recorder.start();
    await this.#updates.start();
    this.#sources.start();
    this.#health.start();
    this.#selfCheck.start();
    this.#uplink.start();
    this.#renewal = this.#parts.startRenewal();
    this.#every(config.update.pollInterval, () => void this.#updates.refresh());
    this.#every(MINUTE, () => this.#watch());
    this.#watch();
  }

  /** Within three seconds: sources first, so nothing new comes; the last commit after the last reading. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#renewal?.stop();
    this.#selfCheck.stop();
    this.#health.stop();
    await this.#within(Promise.all([this.#sources.stop(), this.#api?.close(), this.#updates.stop()]));
    this.#recorder.stop();
    await this.#within(this.#uplink.stop());
    await this.#within(this.#parts.engine.close());
    this.#outbox.close();
  }

  #within(work: Promise<unknown>): Promise<void> {
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#parts.clock.after(STOP_WITHIN_MS / 2, resolve);
    });
    const done = work.then(
      () => undefined,
      (error: unknown) => this.#parts.log.error('while stopping', { error: asSkeinError(error).message }),
    );
    return Promise.race([done, late]).finally(() => timer?.cancel());
  }

  #every(intervalMs: Millis, task: () => void): void {
    const next = (): void => {
      const timer = this.#parts.clock.after(intervalMs, () => {
        this.#timers.delete(timer);
        next();
        task();
      });
      this.#timers.add(timer);
    };
    next();
  }

  #predicted(record: PredictionRecord): void {
    this.#recorder.prediction(record);
    this.#predictedMono = this.#parts.clock.mono();
    if (!this.#parts.config.uplink.state) return;
    this.#uplink.state({
      ts: record.ts,
      model: record.model,
      version: record.version,
      label: record.label,
      score: record.score,
      alarm: record.alarm,
      latency_ms: record.latency_us / 1000,
      ...this.#health.latest(),
    });
  }

  /** While nothing is predicted, `state` still shows how the device is. */
  #healthState({ ts, metrics }: HealthRecord): void {
    const { clock, config } = this.#parts;
    if (config.uplink.state && clock.mono() - this.#predictedMono > QUIET_MS)
      this.#uplink.state({ ts, ...metrics });
  }

  #drift(record: DriftRecord): void {
    this.#recorder.drift(record);
    const source = record.model;
    if (record.verdict === 'drift')
      this.#incidents.raise('DRIFT', { source, detail: `window ${record.window}` });
    if (record.verdict === 'calm') this.#incidents.clear('DRIFT', source);
  }

  #report(report: UpdateReport): void {
    this.#recorder.report(report);
    const { model: source, outcome, version, reason, detail } = report;
    if (outcome === 'refused' || outcome === 'reverted')
      this.#incidents.raise('UPDATE_FAILED', {
        source,
        detail: `${version} ${outcome}: ${reason} ${detail ?? ''}`,
      });
    if (outcome === 'committed') this.#incidents.clear('UPDATE_FAILED', source);
  }

  #incident(event: EventMessage): void {
    this.#parts.log[event.after.severity === 'notice' ? 'info' : 'warn'](`incident ${event.type}`, {
      ...event.after,
    });
    this.#recorder.incident(event);
    this.#uplink.event(event);
  }

  #trouble(error: SkeinError): void {
    this.#parts.log.error(error.message, { code: error.code, fix: error.fix });
  }

  #diskTrouble(message: string | null): void {
    if (message === null) this.#incidents.clear('DISK_LOW', 'outbox');
    else this.#incidents.raise('DISK_LOW', { source: 'outbox', detail: message });
  }

  #modelsChanged(): void {
    this.#uplink.hello();
  }

  #modelReady(name: string): boolean {
    const model = this.#parts.engine.current(name);
    return model !== undefined && this.#selfCheck.result(model)?.ok === true;
  }

  /** Warnings of a slower kind, once a minute. */
  #watch(): void {
    const dropped = this.#outbox.ledger().reduce((sum, entry) => sum + entry.dropped, 0);
    const verdicts = judgeStanding({
      now: this.#parts.clock.now(),
      timeFloor: this.#parts.timeFloor(),
      refreshedAt: this.#parts.trust.view()?.refreshedAt ?? 0,
      dropped,
      droppedBefore: this.#dropped ?? dropped,
    });
    this.#dropped = dropped;
    for (const { code, raised, detail } of verdicts)
      if (raised) this.#incidents.raise(code, { detail });
      else this.#incidents.clear(code);
  }

  #hello(): HelloMessage {
    const { agentVersion, clock, config, engine, hardware, runtime, sources } = this.#parts;
    return {
      ts: clock.now(),
      agentVersion,
      runtime,
      profile: config.profile,
      hardware,
      sources: sources.map(({ source }) => source.name),
      models: engine.models().map(modelInUse).slice(0, 32),
    };
  }

  status(): AgentStatus {
    const { agentVersion, boot, clock, config, engine, identity, trust } = this.#parts;
    return {
      device: identity.device,
      fleet: identity.fleet,
      agentVersion,
      boot,
      ts: clock.now(),
      uptimeMs: Math.round(clock.mono()),
      profile: config.profile,
      connected: this.#uplink.connected,
      sources: this.#sources.sources(),
      models: engine
        .models()
        .map((model) => modelStatus(model, engine.stats(model.manifest.name), this.#selfCheck.result(model))),
      pipelines: this.#sources.pipelines(),
      updates: this.#updates.states().map(updateStatus),
      trust: trustStatus(trust.view()),
      ledger: this.#outbox.ledger(),
      incidents: this.#incidents.open(),
      health: this.#health.latest(),
    };
  }
}

const healthOptions = ({ health }: Config, boot: string) => ({
  boot,
  sampleMs: health.sampleInterval,
  recordMs: health.interval,
  limits: {
    temperatureC: health.temperatureLimit,
    memoryShare: health.memoryLimit,
    diskShare: health.diskLimit,
    loadPerCpu: health.loadLimit,
  },
});
