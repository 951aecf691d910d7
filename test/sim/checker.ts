/** The promises, checked whenever something happens that could break one. It knows the truth that the parts do not. */
import type { UpdateReport } from '@skein/protocol/records.ts';
import type { Millis, Sha256Hex } from '@skein/protocol/units.ts';
import { STARTS_MAX } from '../../agent/src/update/machine.ts';
import type { StagedModel } from '../../agent/src/update/ports.ts';
import { isOpen, type Rollout, type Target } from '../../fleet-server/src/rollouts/rollout.ts';
import type { SimRepository, SimVersion } from './repository.ts';
import type { SimServer } from './server.ts';
import type { VirtualTime } from './virtual-time.ts';

export class PromiseBroken extends Error {}

interface Truth {
  refreshedMs: Millis;
  /** The signed floor that this device has seen. */
  floor: number;
  preflighted: Set<Sha256Hex>;
  ran: Set<string>;
  /** Loads of a version that was not the last good one. */
  trials: Map<string, number>;
  /** Inferences in a row that a version made here, by ground truth. */
  proved: Map<string, number>;
}

export class Checker {
  readonly #time: VirtualTime;
  readonly #repository: SimRepository;
  readonly #truths = new Map<string, Truth>();
  readonly #seen = new Map<string, readonly Target[]>();
  readonly #rollouts = new Map<string, Rollout>();
  /** Rollouts that a person let go on. */
  readonly approved = new Set<string>();
  /** Set once the server exists. */
  server!: SimServer;
  freshWithinMs: Millis = Number.POSITIVE_INFINITY;
  /** Promises looked at. */
  checks = 0;
  /** The first that did not hold: shells catch what their ports throw, the world must not miss it. */
  broken: PromiseBroken | undefined;

  constructor(time: VirtualTime, repository: SimRepository) {
    this.#time = time;
    this.#repository = repository;
  }

  /** Devices on which this version ever inferred. */
  ran(version: string): string[] {
    return [...this.#truths].filter(([, truth]) => truth.ran.has(version)).map(([device]) => device);
  }

  refreshed(device: string): void {
    const truth = this.#truth(device);
    truth.refreshedMs = this.#time.now;
    truth.floor = this.#repository.floor;
  }

  /** How old orders are is not known over a restart: they count as stale. */
  restarted(device: string): void {
    this.#truth(device).refreshedMs = Number.NEGATIVE_INFINITY;
  }

  preflighted(device: string, hash: Sha256Hex): void {
    this.#truth(device).preflighted.add(hash);
  }

  /** A model is about to infer: it is signed, ordered, preflighted, fresh and not below the floor, or the last good one. */
  activated(device: string, version: SimVersion, model: StagedModel, committed: Sha256Hex | undefined): void {
    const truth = this.#truth(device);
    const who = `${device} activates ${version.version}`;
    this.must(model.manifestSha256 === version.manifestSha256, `${who}: its manifest is not the signed one`);
    this.must(
      this.server.everOrdered.get(device)?.has(version.version) === true,
      `${who}: nobody ordered it`,
    );
    this.must(truth.preflighted.has(version.modelSha256), `${who}: it did not pass preflight here`);
    truth.ran.add(version.version);
    if (version.modelSha256 === committed) return;
    const trials = (truth.trials.get(version.version) ?? 0) + 1;
    truth.trials.set(version.version, trials);
    this.must(trials <= STARTS_MAX, `${who} for the ${trials}th time, and never got through probation`);
    this.must(
      version.release >= truth.floor,
      `${who}: release ${version.release} is below floor ${truth.floor}`,
    );
    const age = this.#time.now - truth.refreshedMs;
    // The load itself takes a moment after the decision.
    this.must(age <= this.freshWithinMs + 1_000, `${who}: its orders are ${Math.round(age / 1000)} s old`);
  }

  inferred(device: string, version: string, inferences: number): void {
    const { proved } = this.#truth(device);
    proved.set(version, Math.max(inferences, proved.get(version) ?? 0));
  }

  reported(device: string, report: UpdateReport): void {
    const made = this.#truth(device).proved.get(report.version) ?? 0;
    this.must(report.probation.inferences <= made, `${device} reports inferences it did not make`);
  }

  /** What the server counts is what happened on the devices. */
  rollout(rollout: Rollout): void {
    const version = this.#repository.versions.get(rollout.spec.version)!;
    const before = this.#seen.get(rollout.id) ?? [];
    this.#seen.set(rollout.id, rollout.targets);
    for (const [i, target] of rollout.targets.entries()) {
      if (before[i] === target) continue;
      const harm = this.#repository.flawOn(target.device, version);
      if (target.state === 'committed') {
        const proved = this.#truth(target.device).proved.get(rollout.spec.version) ?? 0;
        const enough = proved >= rollout.spec.probation.minInferences;
        this.must(enough, `${rollout.id} counts ${target.device}, which proved ${proved} inferences`);
        this.must(harm === null, `${rollout.id} counts ${target.device}, where the version has flaw ${harm}`);
      }
      if (target.state === 'failed') {
        this.must(
          harm !== null,
          `${rollout.id} holds ${target.reason} against ${target.device}: the version is sound`,
        );
      }
    }
    const failed = rollout.targets.filter((t) => t.state === 'failed').length;
    const stopped = rollout.state === 'halted' || rollout.state === 'rolled-back';
    this.must(
      failed <= rollout.spec.maxFailures || stopped,
      `${rollout.id} goes on after ${failed} failures`,
    );
    if (version.flaw !== null) this.#contained(rollout, version);
    this.#inTurn(rollout);
  }

  /** A version that is bad everywhere never leaves its first stage, one that is bad somewhere never runs ahead. */
  #contained(rollout: Rollout, { flawShare }: SimVersion): void {
    const reached = flawShare === 1 ? 0 : rollout.stage;
    const allowed = new Set(rollout.targets.filter((t) => t.stage <= reached).map((t) => t.device));
    const outside = this.ran(rollout.spec.version).filter((device) => !allowed.has(device));
    this.must(
      outside.length === 0,
      `a bad version ran outside stage ${reached + 1}: ${outside.slice(0, 5).join(', ')}`,
    );
  }

  /** The next stage begins when every device of this one answered, its time is over, or a person said so. */
  #inTurn(rollout: Rollout): void {
    const before = this.#rollouts.get(rollout.id);
    this.#rollouts.set(rollout.id, rollout);
    if (!before || before.stage === rollout.stage) return;
    const waiting = rollout.targets.filter((t) => t.stage === before.stage && isOpen(t)).length;
    const late = this.#time.wall >= before.stageDeadlineAt;
    const may = waiting === 0 || late || this.approved.has(rollout.id);
    this.must(may, `${rollout.id} did not wait for ${waiting} devices of stage ${before.stage + 1}`);
  }

  must(holds: boolean, otherwise: string): void {
    this.checks++;
    if (holds) return;
    this.broken ??= new PromiseBroken(`at ${Math.round(this.#time.now / 1000)} s: ${otherwise}`);
    throw this.broken;
  }

  #truth(device: string): Truth {
    const known = this.#truths.get(device);
    if (known) return known;
    const made: Truth = {
      refreshedMs: Number.NEGATIVE_INFINITY,
      floor: 0,
      preflighted: new Set(),
      ran: new Set(),
      trials: new Map(),
      proved: new Map(),
    };
    this.#truths.set(device, made);
    return made;
  }
}
