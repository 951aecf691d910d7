/**
 * One agent at work: sources → pipelines → outbox → uplink; beside it updates, health, readiness and the local API.
 *
 * Order: the last good models are loaded first (no network needed), then the sources start, then the local API is opened,
 * then the connection: each a moment later when there is a first prediction to wait for.
 * Stopping goes the other way round and ends with a commit, so what was predicted is accepted. Everything is handed in
 * by {@link AgentParts}; nothing here knows an adapter.
 */
import { WATCHED_STATE_MS } from '@skein/protocol/commands.ts';
import { asSkeinError, type SkeinError } from '@skein/protocol/errors.ts';
import type { HelloMessage } from '@skein/protocol/messages.ts';
import type { Timer } from '@skein/protocol/ports.ts';
import { HOUR, type Millis, SECOND } from '@skein/protocol/units.ts';
import type { AgentParts, Uplink } from './agent-parts.ts';
import { modelInUse, modelStatus, trustStatus, updateStatus } from './api/collect-status.ts';
import type { GrpcApi } from './api/grpc-api.ts';
import type { LocalApi } from './api/http-local-api.ts';
import type { OipModels } from './api/oip-models.ts';
import { type SelfCheck, selfCheck } from './api/self-check.ts';
import { type AgentStatus, readiness } from './api/status.ts';
import { type AtLatest, atLatest } from './at-latest.ts';
import { Verdicts } from './drift/verdicts.ts';
import { type FirstPrediction, firstPrediction } from './first-prediction.ts';
import { type Incidents, openIncidents } from './health/incidents.ts';
import type { Probe } from './health/probe.ts';
import { type HealthReport, reportHealth } from './health/report-health.ts';
import { reportStanding } from './health/report-standing.ts';
import { shadowMetrics } from './inference/shadow.ts';
import type { Outbox } from './outbox/port.ts';
import { createSampler } from './outbox/sampling.ts';
import { incidentTeller, reportWork, type WorkReports } from './report-work.ts';
import { createRecorder, type Recorder } from './run-records.ts';
import { type RunningSinks, runSinks } from './sinks/run-sinks.ts';
import { type RunningSources, runSources, type SourcesDeps } from './sources/run-sources.ts';
import { UpdateRunner } from './update/run-update.ts';

/** Each of the steps of stopping; three of them may wait for something outside. */
const STEP_WITHIN_MS: Millis = 900;

/** A damaged buffer is told of for so long; its ranges stay in the ledger. */
const TELL_DAMAGE_MS: Millis = HOUR;

const BACKEND_POLL_MS: Millis = 30_000;
/** What a device is there for comes first: all that is only told of it waits for its first prediction, at most so long. */
const REST_WITHIN_MS: Millis = SECOND;
/** Whoever asks by the local API can wait a moment too. */
const DOORS_WITHIN_MS: Millis = 100;
/** Programs may be asked, and they may hold up this thread. */
const NAME_BOARD_AFTER_MS: Millis = 20 * SECOND;

export class Agent {
  readonly #parts: AgentParts;
  readonly #outbox: Outbox;
  readonly #uplink: Uplink;
  readonly #recorder: Recorder;
  readonly #incidents: Incidents;
  readonly #reports: WorkReports;
  readonly #sources: RunningSources;
  readonly #sinks: RunningSinks;
  readonly #updates: UpdateRunner;
  readonly #health: HealthReport;
  readonly #standing;
  readonly #selfCheck: SelfCheck;
  readonly #verdicts = new Verdicts();
  #hardware: HelloMessage['hardware'];
  readonly #rest: AtLatest;
  readonly #first: FirstPrediction;
  #nameTimer: Timer | undefined;
  #poll: Timer | undefined;
  #backendPoll: Timer | undefined;
  #renewal: { stop(): void } | undefined;
  #api: LocalApi | undefined;
  #grpc: GrpcApi | undefined;
  #stopping: Promise<void> | undefined;

  /** Opens the outbox. @throws SkeinError DISK_FULL, DISK_FAILED */
  constructor(parts: AgentParts) {
    const { boot, clock, config, engine, entropy, log, trust } = parts;
    this.#parts = parts;
    this.#hardware = parts.hardware;
    this.#first = firstPrediction(clock, log);
    this.#rest = this.#first.hurries(atLatest(clock, () => this.#startRest()));
    this.#outbox = parts.openOutbox((error) => this.#outboxTrouble(error));
    this.#uplink = this.#openUplink();
    this.#recorder = createRecorder({
      outbox: this.#outbox,
      clock,
      log,
      boot,
      commitIntervalMs: config.outbox.commitInterval,
      sampler: createSampler(config.outbox.sampling, entropy),
      send: () => this.#uplink.send(),
      trouble: (reason) => this.#reports.disk(reason),
    });
    const told = { log, recorder: this.#recorder, uplink: this.#uplink };
    this.#incidents = openIncidents(clock, entropy, parts.incidentStore, incidentTeller(told));
    const incidents = this.#incidents;
    const latestHealth = () => this.#health.latest();
    this.#reports = reportWork({
      ...{ ...told, clock, incidents, latestHealth },
      live: () => this.#live(),
      driftEveryMs: config.uplink.driftInterval,
    });
    this.#health = reportHealth(
      healthOptions(parts),
      clock,
      this.#probe(parts),
      incidents,
      this.#reports.health,
    );
    const onDrift: SourcesDeps['onDrift'] = (record, former) => {
      this.#verdicts.heard(record, former);
      this.#reports.drift(record);
    };
    this.#sinks = runSinks(parts.sinks, { clock, log, incidents, device: parts.identity.device });
    const onPrediction: SourcesDeps['onPrediction'] = (record, outcome) => {
      this.#reports.prediction(record, outcome);
      this.#sinks.prediction(record, outcome);
      this.#first.made(record.model);
    };
    this.#sources = runSources(parts.sources, {
      ...{ engine, boot, clock, log, incidents, onPrediction, onDrift },
      pictures: parts.pictures,
    });
    this.#updates = this.#updateRunner();
    parts.backends?.watch((name, fault) => {
      this.#reports.backend(name, fault);
      this.#updates.backendChanged(name, fault === null);
    });
    this.#standing = reportStanding({
      clock,
      trust,
      incidents,
      outbox: this.#outbox,
      timeFloor: parts.timeFloor,
      refreshEveryMs: config.update.pollInterval,
    });
    this.#selfCheck = selfCheck({
      models: () => engine.models(),
      infer: (model, inputs) => engine.probe(model, inputs),
      read: (sha256) => parts.update.slots.read(sha256),
      clock,
    });
  }

  /** It may come from inside a commit, and an incident makes another one. */
  #outboxTrouble({ code, fix, message }: SkeinError): void {
    const { clock, log } = this.#parts;
    log.error(message, { code, fix });
    if (code !== 'OUTBOX_CORRUPT') return;
    const about = { source: 'outbox', detail: message };
    clock.after(0, () => this.#incidents.raise('OUTBOX_DAMAGED', about));
    clock.after(TELL_DAMAGE_MS, () => this.#incidents.clear('OUTBOX_DAMAGED', 'outbox'));
  }

  #openUplink(): Uplink {
    const { log, openUplink, trust } = this.#parts;
    return openUplink(this.#outbox, {
      hello: () => this.#hello(),
      ackKeys: () => trust.view()?.ackKeys ?? [],
      ordersMayHaveChanged: (announced) => {
        if (this.#worthAsking(announced)) void this.#updates.refresh();
      },
      trouble: ({ code, data, fix, message }) => {
        log.error(message, { code, fix });
        if (code === 'OUTBOX_FORKED') this.#reports.rival(message, String(data?.stream));
      },
      rival: (detail) => this.#reports.rival(detail),
    });
  }

  /** Always, or only while somebody watches: then it is paid by the byte. */
  #live(): { everyMs: Millis } | undefined {
    if (this.#parts.config.uplink.state) return { everyMs: 0 };
    return this.#uplink.watched ? { everyMs: WATCHED_STATE_MS } : undefined;
  }

  /** Each question costs some 6 KB: where bytes are paid for, a fresh view is only held against a newer version. */
  #worthAsking(announced: number | undefined): boolean {
    const { clock, config, trust } = this.#parts;
    const view = trust.view();
    if (config.profile !== 'metered' || !view) return true;
    const fresh = clock.mono() - view.refreshedMono < config.update.pollInterval;
    return !fresh || (announced !== undefined && announced > view.directorVersion);
  }

  /** A comparison's figures travel with the device's own. */
  #probe({ probe, engine }: AgentParts): Probe {
    return {
      sample: () => ({ ...probe.sample(), ...shadowMetrics(engine.shadows()) }),
      close: () => probe.close(),
    };
  }

  /** What else tells of a model, beside its inferences. */
  #around(model: string) {
    const { engine, residentBytes } = this.#parts;
    const version = engine.current(model)?.manifest.version;
    return { residentBytes: residentBytes(), ...this.#verdicts.of(model, version) };
  }

  #updateRunner(): UpdateRunner {
    const { agentVersion: agent, clock, engine, entropy, log, trust, update } = this.#parts;
    const introduce = () => this.#uplink.hello();
    return new UpdateRunner({
      ...update,
      agent,
      trust,
      clock,
      entropy,
      log,
      runtime: {
        activate: (model, compiling) => engine.activate(model, compiling).finally(introduce),
        deactivate: (model) => engine.deactivate(model).finally(introduce),
        stats: (model) => ({ ...engine.stats(model), ...this.#around(model) }),
      },
      reports: { report: (report) => this.#reports.update(report) },
      ...(this.#parts.backends ? { backends: this.#parts.backends } : {}),
      atLeisure: (task) => this.#rest.afterwards(task),
      standIn: (model, why) => this.#reports.standIn(model, why),
      progress: (message) => this.#uplink.update(message),
    });
  }

  get apiUrl(): string {
    return this.#api?.url ?? '';
  }

  /** `host:port`; empty when gRPC is off. */
  get grpcAddress(): string {
    return this.#grpc?.address ?? '';
  }

  /** @throws SkeinError PORT_IN_USE; it has stopped again then, and nothing is lost. */
  async start(): Promise<void> {
    this.#recorder.start();
    await this.#updates.start();
    await this.#startSite();
    this.#sinks.start();
    const predicted = this.#first.orAfter(DOORS_WITHIN_MS);
    this.#sources.start();
    if (this.#parts.sources.length > 0) await predicted;
    try {
      await this.#openDoors();
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#rest.within(REST_WITHIN_MS);
  }

  async #openDoors(): Promise<void> {
    const { openApi, openGrpc, pictures } = this.#parts;
    const models = this.#servedModels();
    this.#api = await openApi({ status: () => this.status(), models, pictures });
    this.#grpc = await openGrpc(models);
  }

  #startRest(): void {
    const { clock, startRenewal } = this.#parts;
    this.#selfCheck.start();
    this.#health.start();
    this.#uplink.start();
    this.#standing.start();
    this.#renewal = startRenewal();
    this.#pollOrders();
    this.#askBackends();
    void this.#examineBuffer();
    this.#nameTimer = clock.after(NAME_BOARD_AFTER_MS, () => void this.#nameBoard());
  }

  async #examineBuffer(): Promise<void> {
    try {
      await this.#outbox.examine();
    } catch (thrown) {
      if (this.#stopping) return;
      const { code, fix, message } = asSkeinError(thrown);
      this.#parts.log.warn('the buffer could not be looked through for damage', {
        code,
        fix,
        error: message,
      });
    }
  }

  /** Others have to do without it; this device goes on. */
  async #startSite(): Promise<void> {
    const { log, site } = this.#parts;
    try {
      await site?.start(() => void this.#updates.prune());
    } catch (thrown) {
      const { code, fix, message } = asSkeinError(thrown);
      log.error('models are not given to other devices', { code, fix, error: message });
    }
  }

  /** A server that no model uses just now is missed before one needs it. What is wrong comes by `watch`. */
  #askBackends(): void {
    const { backends, clock } = this.#parts;
    if (!backends || backends.names.length === 0) return;
    this.#backendPoll = clock.after(BACKEND_POLL_MS, () => this.#askBackends());
    for (const name of backends.names) void backends.facts(name);
  }

  #servedModels(): OipModels {
    const { agentVersion: version, engine } = this.#parts;
    return {
      version,
      ready: () => readiness(this.status()).ready,
      all: () => engine.models(),
      current: (model) => engine.current(model),
      modelReady: (model) => this.#modelReady(model),
      statistics: (model) => engine.statistics(model),
      predict: (model, inputs, options) => engine.predict(model, inputs, { ...options, priority: 'api' }),
    };
  }

  async #nameBoard(): Promise<void> {
    const named = await this.#parts.nameBoard(this.#hardware);
    if (named.model === this.#hardware.model || this.#stopping) return;
    this.#hardware = named;
    this.#uplink.hello();
  }

  /** Within three seconds: sources first, so nothing new comes; the last commit after the last reading. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const timer of [this.#rest, this.#nameTimer, this.#poll, this.#backendPoll]) timer?.cancel();
    this.#renewal?.stop();
    for (const part of [this.#selfCheck, this.#health, this.#standing]) part.stop();
    const serving = [this.#api?.close(), this.#grpc?.close(), this.#parts.site?.stop()];
    await this.#within(Promise.all([this.#sources.stop(), ...serving, this.#updates.stop()]));
    this.#reports.flush();
    this.#recorder.stop();
    await this.#within(Promise.all([this.#uplink.stop(), this.#sinks.stop()]));
    await this.#within(Promise.all([this.#parts.engine.close(), this.#parts.pictures.close()]));
    this.#outbox.close();
  }

  #within(work: Promise<unknown>): Promise<void> {
    const { clock, log } = this.#parts;
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = clock.after(STEP_WITHIN_MS, resolve);
    });
    const failed = (error: unknown) => log.error('while stopping', { error: asSkeinError(error).message });
    const done = work.then(() => undefined, failed);
    return Promise.race([done, late]).finally(() => timer?.cancel());
  }

  #pollOrders(): void {
    const { clock, config } = this.#parts;
    this.#poll = clock.after(config.update.pollInterval, () => {
      this.#pollOrders();
      void this.#updates.refresh();
    });
  }

  #modelReady(name: string): boolean {
    const model = this.#parts.engine.current(name);
    return model !== undefined && this.#selfCheck.result(model)?.ok === true;
  }

  #hello(): HelloMessage {
    const { agentVersion, clock, config, engine, runtime, sources } = this.#parts;
    return {
      ts: clock.now(),
      agentVersion,
      runtime,
      profile: config.profile,
      hardware: this.#hardware,
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
      sinks: this.#sinks.status(),
      models: engine
        .models()
        .map((model) => modelStatus(model, engine.stats(model.manifest.name), this.#selfCheck.result(model))),
      pipelines: this.#sources.pipelines(),
      updates: this.#updates
        .states()
        .map((state) =>
          updateStatus(state, this.#updates.compiling(state.model), this.#updates.moves(state.model)),
        ),
      trust: trustStatus(trust.view()),
      ledger: this.#outbox.ledger(),
      lossWindowMs: config.outbox.commitInterval,
      atRest: this.#parts.atRest ?? null,
      incidents: this.#incidents.open(),
      health: this.#health.latest(),
      shadows: engine.shadows(),
    };
  }
}

const healthOptions = ({ boot, config: { health } }: AgentParts) => ({
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
